//! Text to tokens and back: tokenizer and chat template, read from the model file.

mod byte_level;
pub mod chat_template;
mod pre_tokenizer;
mod sentencepiece;
pub mod tokenizer;

pub use chat_template::{ChatTemplate, ChatTemplateError};
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
