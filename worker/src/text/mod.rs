//! Text to tokens and back: tokenizer and chat template, read from the model file.

mod byte_level;
pub mod chat_template;
mod pre_tokenizer;
mod sentencepiece;
pub mod tokenizer;

pub use chat_template::{ChatMessage, ChatTemplate, ChatTemplateError};
pub use tokenizer::{Tokenizer, TokenizerError};
