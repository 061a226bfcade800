//! [`Vocabulary`]: what the engine needs of a tokenizer.

use super::tokenizer::Tokenizer;

/// Bytes of tokens.
pub trait Vocabulary: Send + Sync {
    /// The bytes that a token stands for: none for a special or unknown one, and possibly a part of a character.
    fn token_bytes(&self, id: u32) -> &[u8];
}

impl Vocabulary for Tokenizer {
    fn token_bytes(&self, id: u32) -> &[u8] {
        Self::token_bytes(self, id)
    }
}
