//! Byte-level BPE from GGUF metadata: text to token ids, and each id to its bytes.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use super::pre_tokenizer;
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

/// `tokenizer.ggml.token_type` of the tokens that are not plain text.
mod token_type {
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
}

/// Why a model file's tokenizer cannot be used, or a text not be encoded.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// Metadata missing or of another type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A vocabulary that is not byte-level BPE.
    #[error("tokenizer model `{0}` is not supported (supported: gpt2, i.e. byte-level bpe)")]
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
        let model = metadata.text("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(TokenizerError::UnsupportedModel(model.to_owned()));
        }
        let pre = pre_tokenizer::by_name(metadata.text("tokenizer.ggml.pre")?)?;
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        let ids = ids_by_text(&tokens)?;
        let merges = merges(&metadata.texts("tokenizer.ggml.merges")?, &ids)?;
        let types = metadata.optional_uints("tokenizer.ggml.token_type")?.unwrap_or_default();
        let id = |key: &str| token_id(metadata, key, tokens.len());
        let bos_token_id = id("tokenizer.ggml.bos_token_id")?;
        let eos_token_id = id("tokenizer.ggml.eos_token_id")?;

        let named_ends = END_OF_GENERATION.iter().filter_map(|text| ids.get(text).copied());
        let mut eos: BTreeSet<u32> = eos_token_id.into_iter().chain(named_ends).collect();
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            eos.extend(id(key)?);
        }
        if eos.is_empty() {
            return Err(TokenizerError::Inconsistent(
                "no end-of-sequence token: set `tokenizer.ggml.eos_token_id`".to_owned(),
            ));
        }
        let control: BTreeSet<u32> =
            (eos.iter().copied()).chain(bos_token_id).chain(id("tokenizer.ggml.padding_token_id")?).collect();
        let special: Vec<bool> = (0..tokens.len() as u32)
            .zip(types.iter().map(Some).chain(std::iter::repeat(None)))
            .map(|(id, kind)| {
                control.contains(&id) || matches!(kind, Some(&(token_type::UNKNOWN | token_type::CONTROL)))
            })
            .collect();
        let user_defined = |index: usize| types.get(index) == Some(&token_type::USER_DEFINED);

        let bpe = BPE::builder()
            .vocab_and_merges(ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect::<Vocab>(), merges)
            .ignore_merges(pre.ignore_merges)
            .build()
            .map_err(TokenizerError::library)?;
        let mut library = tokenizers::Tokenizer::new(bpe);
        library.with_normalizer(pre.normalizer).map_err(TokenizerError::library)?;
        library.with_pre_tokenizer(Some(pre.split));
        let added = tokens
            .iter()
            .enumerate()
            .filter(|(index, _)| special[*index] || user_defined(*index))
            .map(|(index, text)| AddedToken::from(*text, special[index]).normalized(false));
        library.add_tokens(added).map_err(TokenizerError::library)?;

        let alphabet = byte_alphabet();
        let bytes = tokens
            .iter()
            .zip(&special)
            .map(|(text, special)| if *special { Box::default() } else { token_bytes(text, &alphabet) })
            .collect();
        Ok(Self {
            library,
            bytes,
            special,
            eos_token_ids: eos_token_id
                .into_iter()
                .chain(eos.into_iter().filter(|id| Some(*id) != eos_token_id))
                .collect(),
            bos_token_id,
            eos_token_id,
            add_bos: metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(pre.add_bos),
            tokens: tokens.into_iter().map(str::to_owned).collect(),
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

    /// The id whose vocabulary entry is `token` (in the vocabulary's spelling, e.g. `<|im_end|>` or `Ġthe`).
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

fn ids_by_text<'a>(tokens: &[&'a str]) -> Result<HashMap<&'a str, u32>, TokenizerError> {
    if tokens.is_empty() {
        return Err(TokenizerError::Inconsistent("`tokenizer.ggml.tokens` is empty".to_owned()));
    }
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, text) in (0u32..).zip(tokens) {
        if let Some(other) = ids.insert(*text, id) {
            return Err(TokenizerError::Inconsistent(format!("tokens {other} and {id} are both {text:?}")));
        }
    }
    Ok(ids)
}

/// Splits `left right` pairs. The library panics on a merge whose parts or result are not in the vocabulary, so check.
fn merges(entries: &[&str], ids: &HashMap<&str, u32>) -> Result<Vec<(String, String)>, TokenizerError> {
    entries
        .iter()
        .map(|entry| {
            let pair = entry.split_once(' ').filter(|(left, right)| {
                ids.contains_key(left) && ids.contains_key(right) && ids.contains_key(format!("{left}{right}").as_str())
            });
            let (left, right) = pair.ok_or_else(|| {
                TokenizerError::Inconsistent(format!("merge {entry:?} does not join two tokens into a third"))
            })?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect()
}

fn token_id(metadata: Metadata<'_>, key: &str, vocab_size: usize) -> Result<Option<u32>, TokenizerError> {
    metadata
        .optional_uint(key)?
        .map(|id| {
            u32::try_from(id).ok().filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
                TokenizerError::Inconsistent(format!("`{key}` is {id}, outside the vocabulary of {vocab_size}"))
            })
        })
        .transpose()
}

/// The reversible byte-to-character map of GPT-2's published encoder (`bytes_to_unicode`): printable Latin-1 stands for
/// itself, the other bytes for the characters from U+0100 on.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let shifted = (0..=u8::MAX).filter(|byte| !printable(byte));
    (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)).chain(('\u{100}'..).zip(shifted)).collect()
}

/// A token added by hand may be written in plain characters instead of the byte alphabet.
fn token_bytes(text: &str, alphabet: &HashMap<char, u8>) -> Box<[u8]> {
    let mapped: Option<Box<[u8]>> = text.chars().map(|character| alphabet.get(&character).copied()).collect();
    mapped.unwrap_or_else(|| text.as_bytes().into())
}
