//! The tokens in a GGUF file's metadata, and what is made of them.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::error::TokenizerError;
use crate::checkpoint::Metadata;

/// Values of `tokenizer.ggml.token_type`.
pub(super) mod token_type {
    pub(in crate::text) const NORMAL: u64 = 1;
    pub(in crate::text) const UNKNOWN: u64 = 2;
    pub(in crate::text) const CONTROL: u64 = 3;
    pub(in crate::text) const USER_DEFINED: u64 = 4;
    pub(in crate::text) const BYTE: u64 = 6;
}

/// The tokens of a file.
pub(super) struct GgufVocabulary<'a> {
    pub(super) tokens: Vec<&'a str>,
    pub(super) ids: HashMap<&'a str, u32>,
    /// Type of each token; may be shorter than `tokens`.
    pub(super) types: Vec<u64>,
}

impl<'a> GgufVocabulary<'a> {
    pub(super) fn read(metadata: Metadata<'a>) -> Result<Self, TokenizerError> {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        if tokens.is_empty() {
            return Err(TokenizerError::Inconsistent("`tokenizer.ggml.tokens` is empty".to_owned()));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, text) in (0u32..).zip(&tokens) {
            if let Some(other) = ids.insert(*text, id) {
                return Err(TokenizerError::Inconsistent(format!("tokens {other} and {id} are both {text:?}")));
            }
        }
        let types = metadata.optional_uints("tokenizer.ggml.token_type")?.unwrap_or_default();
        Ok(Self { tokens, ids, types })
    }

    pub(super) fn token_type(&self, index: usize) -> u64 {
        self.types.get(index).copied().unwrap_or(token_type::NORMAL)
    }

    pub(super) fn to_library(&self) -> Vocab {
        self.ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect()
    }

    /// The id that metadata `key` names.
    pub(super) fn named_id(&self, metadata: Metadata<'_>, key: &str) -> Result<Option<u32>, TokenizerError> {
        let size = self.tokens.len();
        let Some(id) = metadata.optional_uint(key)? else {
            return Ok(None);
        };
        match u32::try_from(id) {
            Ok(id) if (id as usize) < size => Ok(Some(id)),
            _ => Err(TokenizerError::Inconsistent(format!("`{key}` is {id}, outside the vocabulary of {size}"))),
        }
    }
}

/// How one family of tokenizers cuts and spells text.
pub(super) struct Scheme {
    pub(super) bpe: BPE,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Whether plain prompts start with BOS when the file does not say.
    pub(super) add_bos: bool,
    /// What each token stands for.
    pub(super) bytes: Vec<Box<[u8]>>,
}
