//! Text to tokens and back: tokenizer and chat template, read from the model file.

pub mod chat_template;
mod pre_tokenizer;
pub mod tokenizer;

pub use chat_template::{ChatMessage, ChatTemplate, ChatTemplateError};
pub use tokenizer::{Tokenizer, TokenizerError};
