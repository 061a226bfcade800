//! The tokenizer in a GGUF file's metadata.

use std::collections::{BTreeSet, HashMap};

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::tokenizer::{Ends, Parts, Tokenizer, TokenizerError};
use super::{byte_level, sentencepiece};
use crate::gguf::Metadata;

/// Values of `tokenizer.ggml.token_type`.
pub(super) mod token_type {
    pub(in crate::text) const NORMAL: u64 = 1;
    pub(in crate::text) const UNKNOWN: u64 = 2;
    pub(in crate::text) const CONTROL: u64 = 3;
    pub(in crate::text) const USER_DEFINED: u64 = 4;
    pub(in crate::text) const BYTE: u64 = 6;
}

/// The tokens of a file.
pub(super) struct Vocabulary<'a> {
    pub(super) tokens: Vec<&'a str>,
    pub(super) ids: HashMap<&'a str, u32>,
    /// Type of each token; may be shorter than `tokens`.
    pub(super) types: Vec<u64>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: Metadata<'a>) -> Result<Self, TokenizerError> {
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
    fn named_id(&self, metadata: Metadata<'_>, key: &str) -> Result<Option<u32>, TokenizerError> {
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

impl Tokenizer {
    /// Builds the tokenizer that the metadata describes.
    ///
    /// # Errors
    /// Missing or contradictory metadata; a tokenizer model or pre-tokenizer that is not supported.
    pub fn from_gguf(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::read(metadata)?;
        let scheme = match metadata.text("tokenizer.ggml.model")? {
            "gpt2" => byte_level::scheme(metadata, &vocabulary)?,
            "llama" => sentencepiece::scheme(metadata, &vocabulary)?,
            other => return Err(TokenizerError::UnsupportedModel(other.to_owned())),
        };
        let id = |key: &str| vocabulary.named_id(metadata, key);
        let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let (turn, message) = (id("tokenizer.ggml.eot_token_id")?, id("tokenizer.ggml.eom_token_id")?);
        let ends = Ends::new(eos, turn.into_iter().chain(message), |text| vocabulary.ids.get(text).copied())
            .ok_or_else(|| {
                let problem = "no end-of-sequence token: set `tokenizer.ggml.eos_token_id`";
                TokenizerError::Inconsistent(problem.to_owned())
            })?;
        let padding = id("tokenizer.ggml.padding_token_id")?;
        let control: BTreeSet<u32> = ends.ids.iter().copied().chain(bos).chain(padding).collect();
        let special: Vec<bool> = (0u32..)
            .zip(0..vocabulary.tokens.len())
            .map(|(id, index)| {
                let kind = vocabulary.token_type(index);
                control.contains(&id) || matches!(kind, token_type::UNKNOWN | token_type::CONTROL)
            })
            .collect();
        let added = vocabulary.tokens.iter().enumerate().filter_map(|(index, text)| {
            let added = special[index] || vocabulary.token_type(index) == token_type::USER_DEFINED;
            let token = AddedToken::from(*text, special[index]).normalized(false);
            added.then_some(token)
        });
        Self::new(Parts {
            bpe: scheme.bpe,
            normalizer: scheme.normalizer,
            pre_tokenizer: scheme.pre_tokenizer,
            added: added.collect(),
            bytes: scheme.bytes,
            special,
            ends,
            bos_token_id: bos,
            add_bos: metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(scheme.add_bos),
            tokens: vocabulary.tokens.into_iter().map(str::to_owned).collect(),
        })
    }
}
