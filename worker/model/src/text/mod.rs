//! Text to tokens and back: tokenizer and chat template, read from the model's file or folder.
//!
//! # Layout
//! - `gguf`, `hub`: both, read from a file's metadata or from a folder's files
//! - `chat_template`: messages to text; `tokenizer`: text to ids, ids to bytes; `vocabulary`: only the latter
//! - `byte_level`, `sentencepiece`: the two ways that vocabularies spell bytes; `gguf_vocabulary`, `pre_tokenizer`: how GGUF files
//!   name tokens and cut text
//! - `error`: what can be wrong with them

mod byte_level;
mod chat_template;
mod error;
pub(crate) mod gguf;
mod gguf_vocabulary;
pub(crate) mod hub;
mod pre_tokenizer;
mod sentencepiece;
mod tokenizer;
mod vocabulary;

pub use chat_template::{ChatTemplate, Turn};
pub use error::{ChatTemplateError, TextError, TokenizerError};
pub use tokenizer::Tokenizer;
pub use vocabulary::Vocabulary;
