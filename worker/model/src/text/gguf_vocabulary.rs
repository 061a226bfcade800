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
    /// Text of each token, empty where the file leaves it out.
    pub(super) tokens: Vec<&'a str>,
    /// Id of each token with a text.
    pub(super) ids: HashMap<&'a str, u32>,
    /// Type of each token; may be shorter than `tokens`.
    types: Vec<Option<u64>>,
}

impl<'a> GgufVocabulary<'a> {
    /// Reads the tokens; what is odd but not needed goes to `warnings`.
    pub(super) fn read(metadata: Metadata<'a>, warnings: &mut Vec<String>) -> Result<Self, TokenizerError> {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        if tokens.is_empty() {
            return Err(TokenizerError::Inconsistent("`tokenizer.ggml.tokens` is empty".to_owned()));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, text) in (0u32..).zip(&tokens).filter(|(_, text)| !text.is_empty()) {
            if let Some(other) = ids.insert(*text, id) {
                return Err(TokenizerError::Inconsistent(format!("tokens {other} and {id} are both {text:?}")));
            }
        }
        let without_text = tokens.len() - ids.len();
        if without_text > 0 {
            warnings.push(format!("{without_text} of `tokenizer.ggml.tokens` are empty: they stand for no text"));
        }
        let types = metadata.optional_uints("tokenizer.ggml.token_type").unwrap_or_else(|problem| {
            warnings.push(format!("{problem}: all tokens count as normal ones"));
            None
        });
        let types = types.unwrap_or_default();
        if !types.is_empty() && types.len() != tokens.len() {
            let (types, tokens) = (types.len(), tokens.len());
            warnings.push(format!("`tokenizer.ggml.token_type` has {types} entries for {tokens} tokens"));
        }
        Ok(Self { tokens, ids, types })
    }

    pub(super) fn token_type(&self, index: usize) -> u64 {
        self.types.get(index).copied().flatten().unwrap_or(token_type::NORMAL)
    }

    /// Text of the first token of a type.
    pub(super) fn first_of_type(&self, kind: u64) -> Option<&'a str> {
        (self.tokens.iter().enumerate()).find(|(index, _)| self.token_type(*index) == kind).map(|(_, text)| *text)
    }

    pub(super) fn to_library(&self) -> Vocab {
        self.ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect()
    }

    /// The tokens as they are shown: one without a text by its place, as llama.cpp names it.
    pub(super) fn into_names(self) -> Vec<String> {
        let name = |(index, text): (usize, &str)| match text {
            "" => format!("[EMPTY_{index}]"),
            _ => text.to_owned(),
        };
        self.tokens.into_iter().enumerate().map(name).collect()
    }
}

/// A truth value of the tokenizer; one that is neither true nor false counts as absent.
pub(super) fn flag(metadata: Metadata<'_>, key: &str, warnings: &mut Vec<String>) -> Option<bool> {
    metadata.optional_bool(key).unwrap_or_else(|problem| {
        warnings.push(format!("{problem}: ignored"));
        None
    })
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
