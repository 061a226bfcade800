//! The tokenizer of a model file: text to token ids, and each id to its bytes.

use std::collections::BTreeSet;

use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::error::TokenizerError;
use super::least_tokens::{LeastTokens, TokenizerParts};
use super::seams::Seams;

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

/// What a tokenizer is made of, whatever file it comes from.
pub(super) struct Parts {
    pub(super) bpe: BPE,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Tokens that are found in a text before it is cut.
    pub(super) added: Vec<AddedToken>,
    /// Each token in the vocabulary's spelling, its bytes, and whether it is a control token, which has no text.
    pub(super) tokens: Vec<String>,
    pub(super) bytes: Vec<Box<[u8]>>,
    pub(super) special: Vec<bool>,
    pub(super) ends: Ends,
    pub(super) bos_token_id: Option<u32>,
    /// Whether plain prompts start with BOS.
    pub(super) add_bos: bool,
}

/// The EOS set.
pub(super) struct Ends {
    /// The model's own one first, then ascending; never empty.
    pub(super) ids: Vec<u32>,
    /// The model's own one.
    pub(super) main: Option<u32>,
}

impl Ends {
    /// The main id, others that the file names, and the well-known texts that are in the vocabulary. `None` if there are none.
    pub(super) fn new(
        main: Option<u32>,
        others: impl IntoIterator<Item = u32>,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Option<Self> {
        let known = END_OF_GENERATION.iter().filter_map(|text| id_of(text));
        let rest: BTreeSet<u32> = others.into_iter().chain(known).filter(|id| Some(*id) != main).collect();
        let ids: Vec<u32> = main.into_iter().chain(rest).collect();
        (!ids.is_empty()).then_some(Self { ids, main })
    }
}

/// Encodes text and gives each token's bytes.
pub struct Tokenizer {
    /// Recognises special tokens in the text.
    library: tokenizers::Tokenizer,
    seams: Seams,
    /// None if a token may stand for any number of bytes.
    least_tokens: Option<LeastTokens>,
    tokens: Vec<String>,
    bytes: Vec<Box<[u8]>>,
    special: Vec<bool>,
    ends: Ends,
    bos_token_id: Option<u32>,
    add_bos: bool,
}

impl Tokenizer {
    pub(super) fn new(mut parts: Parts) -> Result<Self, TokenizerError> {
        for (bytes, _) in parts.bytes.iter_mut().zip(&parts.special).filter(|(_, special)| **special) {
            *bytes = Box::default();
        }
        let seams = Seams::of(parts.normalizer.as_ref(), parts.pre_tokenizer.as_ref(), &parts.added);
        let least_tokens = LeastTokens::new(&TokenizerParts {
            normalizer: parts.normalizer.as_ref(),
            pre_tokenizer: parts.pre_tokenizer.as_ref(),
            byte_fallback: parts.bpe.byte_fallback,
            added: &parts.added,
            tokens: &parts.tokens,
            bytes: &parts.bytes,
        });
        let mut library = tokenizers::Tokenizer::new(parts.bpe);
        library.with_normalizer(parts.normalizer).map_err(TokenizerError::library)?;
        library.with_pre_tokenizer(parts.pre_tokenizer);
        library.add_tokens(parts.added).map_err(TokenizerError::library)?;
        let Parts { tokens, bytes, special, ends, bos_token_id, add_bos, .. } = parts;
        Ok(Self { library, seams, least_tokens, tokens, bytes, special, ends, bos_token_id, add_bos })
    }

    /// Encodes a rendered chat template: the text of a special token becomes that token. Adds nothing.
    ///
    /// # Errors
    /// The tokenizer library failed.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for part in self.encode_in_parts(text) {
            ids.extend(part?);
        }
        Ok(ids)
    }

    /// Encodes a plain prompt: as [`Self::encode`], but starting with BOS if the model was trained so.
    ///
    /// # Errors
    /// The tokenizer library failed.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let ids = self.encode(text)?;
        Ok(self.prompt_start().into_iter().chain(ids).collect())
    }

    /// What [`Self::encode`] gives, a part of the text at a time: some 10 ms of work, unless the text has no place to be cut.
    pub fn encode_in_parts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Result<Vec<u32>, TokenizerError>> + 'a {
        self.seams.parts(text).map(|part| {
            let encoding = self.library.encode_fast(part, false).map_err(TokenizerError::library)?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// The token that plain prompts start with, if the model was trained so.
    #[must_use]
    pub fn prompt_start(&self) -> Option<u32> {
        self.bos_token_id.filter(|_| self.add_bos)
    }

    /// Tokens that `text` has at least, known without encoding it; 0 if nothing is known.
    #[must_use]
    pub fn least_tokens(&self, text: &str) -> usize {
        self.least_tokens.as_ref().map_or(0, |least| least.of(text))
    }

    /// Most bytes of a text that one token stands for, if there is such a bound.
    #[must_use]
    pub fn most_bytes_per_token(&self) -> Option<usize> {
        self.least_tokens.as_ref().map(|least| least.bytes_per_token)
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
        &self.ends.ids
    }

    /// Text of the beginning-of-sequence token, for chat templates; empty if the model has none.
    #[must_use]
    pub fn bos_token(&self) -> &str {
        self.bos_token_id.and_then(|id| self.token(id)).unwrap_or("")
    }

    /// Text of the file's own end-of-sequence token, for chat templates; empty if the file names none.
    #[must_use]
    pub fn eos_token(&self) -> &str {
        self.ends.main.and_then(|id| self.token(id)).unwrap_or("")
    }
}
