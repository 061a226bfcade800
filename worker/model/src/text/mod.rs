//! Text to tokens and back: tokenizer and chat template, read from the model's file or folder.
//!
//! # Layout
//! - [`tokenizer`]: text to ids, ids to bytes; built by `gguf` from a file's metadata, by [`hub`] from `tokenizer.json`
//! - `byte_level`, `sentencepiece`: the two ways that vocabularies spell bytes; `pre_tokenizer`: how GGUF files cut text
//! - [`chat_template`]: messages to text

mod byte_level;
pub mod chat_template;
mod gguf;
pub mod hub;
mod pre_tokenizer;
mod sentencepiece;
pub mod tokenizer;

pub use chat_template::{ChatTemplate, ChatTemplateError, Turn};
pub use tokenizer::{Tokenizer, TokenizerError};

/// What the engine needs of a tokenizer.
pub trait Vocabulary: Send + Sync {
    /// The bytes that a token stands for: none for a special or unknown one, and possibly a part of a character.
    fn token_bytes(&self, id: u32) -> &[u8];
}

impl Vocabulary for Tokenizer {
    fn token_bytes(&self, id: u32) -> &[u8] {
        Self::token_bytes(self, id)
    }
}
