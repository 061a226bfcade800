//! The tokenizer of a model file: text to token ids, and each id to its bytes.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::{byte_level, pre_tokenizer, sentencepiece};
use crate::models::gguf::{GgufError, Metadata};

/// Token texts that end a generation in the published model families, whatever the file's own ids say.
const END_OF_GENERATION: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
];

/// Values of `tokenizer.ggml.token_type`.
pub(super) mod token_type {
    pub(in crate::text) const NORMAL: u64 = 1;
    pub(in crate::text) const UNKNOWN: u64 = 2;
    pub(in crate::text) const CONTROL: u64 = 3;
    pub(in crate::text) const USER_DEFINED: u64 = 4;
    pub(in crate::text) const BYTE: u64 = 6;
}

/// Why a model file's tokenizer cannot be used, or a text not be encoded.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// Metadata missing or of another type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A vocabulary of another kind.
    #[error("tokenizer model `{0}` is not supported (supported: gpt2, i.e. byte-level bpe; llama, i.e. sentencepiece)")]
    UnsupportedModel(String),
    /// A pre-tokenizer that we do not know.
    #[error("pre-tokenizer `{name}` is not supported (supported: {})", pre_tokenizer::SUPPORTED.join(", "))]
    UnsupportedPreTokenizer {
        /// The file's `tokenizer.ggml.pre`.
        name: String,
    },
    /// Vocabulary and merges contradict each other.
    #[error("inconsistent tokenizer: {0}")]
    Inconsistent(String),
    /// The tokenizer library failed.
    #[error("tokenizer failed: {0}")]
    Library(String),
}

impl TokenizerError {
    pub(super) fn library(error: impl std::fmt::Display) -> Self {
        Self::Library(error.to_string())
    }
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

/// Encodes text and gives each token's bytes.
pub struct Tokenizer {
    /// Recognises special tokens in the text.
    library: tokenizers::Tokenizer,
    tokens: Vec<String>,
    bytes: Vec<Box<[u8]>>,
    special: Vec<bool>,
    eos_token_ids: Vec<u32>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata describes.
    ///
    /// # Errors
    /// Missing or contradictory metadata; a tokenizer model or pre-tokenizer that is not supported.
    pub fn from_gguf(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::read(metadata)?;
        let mut scheme = match metadata.text("tokenizer.ggml.model")? {
            "gpt2" => byte_level::scheme(metadata, &vocabulary)?,
            "llama" => sentencepiece::scheme(metadata, &vocabulary)?,
            other => return Err(TokenizerError::UnsupportedModel(other.to_owned())),
        };
        let id = |key: &str| vocabulary.named_id(metadata, key);
        let (bos_token_id, eos_token_id) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let named_ends = END_OF_GENERATION.iter().filter_map(|text| vocabulary.ids.get(text).copied());
        let mut eos: BTreeSet<u32> = eos_token_id.into_iter().chain(named_ends).collect();
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            eos.extend(id(key)?);
        }
        if eos.is_empty() {
            return Err(TokenizerError::Inconsistent(
                "no end-of-sequence token: set `tokenizer.ggml.eos_token_id`".to_owned(),
            ));
        }
        let padding = id("tokenizer.ggml.padding_token_id")?;
        let control: BTreeSet<u32> = eos.iter().copied().chain(bos_token_id).chain(padding).collect();
        let special: Vec<bool> = (0u32..)
            .zip(0..vocabulary.tokens.len())
            .map(|(id, index)| {
                let kind = vocabulary.token_type(index);
                control.contains(&id) || matches!(kind, token_type::UNKNOWN | token_type::CONTROL)
            })
            .collect();
        for (bytes, _) in scheme.bytes.iter_mut().zip(&special).filter(|(_, special)| **special) {
            *bytes = Box::default();
        }

        let mut library = tokenizers::Tokenizer::new(scheme.bpe);
        library.with_normalizer(scheme.normalizer).map_err(TokenizerError::library)?;
        library.with_pre_tokenizer(scheme.pre_tokenizer);
        let added = vocabulary.tokens.iter().enumerate().filter_map(|(index, text)| {
            let added = special[index] || vocabulary.token_type(index) == token_type::USER_DEFINED;
            let token = AddedToken::from(*text, special[index]).normalized(false);
            added.then_some(token)
        });
        library.add_tokens(added).map_err(TokenizerError::library)?;
        Ok(Self {
            library,
            bytes: scheme.bytes,
            special,
            eos_token_ids: eos_token_id
                .into_iter()
                .chain(eos.into_iter().filter(|id| Some(*id) != eos_token_id))
                .collect(),
            bos_token_id,
            eos_token_id,
            add_bos: metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(scheme.add_bos),
            tokens: vocabulary.tokens.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Encodes a rendered chat template: the text of a special token becomes that token. Adds nothing.
    ///
    /// # Errors
    /// The tokenizer library failed.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.library.encode_fast(text, false).map_err(TokenizerError::library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes a plain prompt: as [`Self::encode`], but starting with BOS if the model was trained so.
    ///
    /// # Errors
    /// The tokenizer library failed.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.library.encode_fast(text, false).map_err(TokenizerError::library)?;
        let bos = self.bos_token_id.filter(|_| self.add_bos);
        Ok(bos.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// The bytes that `id` stands for: empty for a special or unknown id. A token may hold a part of a UTF-8 character.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// Whether `id` is a control token, which has no text.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    /// Entries of the vocabulary.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The id whose vocabulary entry is `token` (in the vocabulary's spelling, e.g. `<|im_end|>`, `Ġthe` or `▁the`).
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.library.token_to_id(token)
    }

    /// Vocabulary entry of `id`, in the vocabulary's spelling.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The EOS set: every id that ends a generation; the file's own one first, then ascending; never empty.
    #[must_use]
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// Text of the beginning-of-sequence token, for chat templates; empty if the model has none.
    #[must_use]
    pub fn bos_token(&self) -> &str {
        self.bos_token_id.and_then(|id| self.token(id)).unwrap_or("")
    }

    /// Text of the file's own end-of-sequence token, for chat templates; empty if the file names none.
    #[must_use]
    pub fn eos_token(&self) -> &str {
        self.eos_token_id.and_then(|id| self.token(id)).unwrap_or("")
    }
}
