//! A lower bound of the tokens of a text, from its bytes alone: what cannot fit need not be encoded.
//!
//! Each token stands for some of the text's bytes, and for no more than the longest one. Two things could make it more: a normalizer
//! that shrinks the text, and a text that becomes no token, or one however long it is. So a bound is given only where both are known:
//! - NFC makes at most 7 bytes 2, namely U+1FBE U+0308 U+0301, the singleton of iota with two marks, to U+0390; other normalizers than NFC
//!   and SentencePiece's own, which only lengthens, are not bounded;
//! - byte-level vocabularies may lack bytes, which are left out of the tokens, so such bytes do not count;
//! - SentencePiece spells what it does not know in bytes, if the vocabulary has them all; else unknown characters become one token.

use std::collections::HashSet;

use tokenizers::AddedToken;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::byte_level::byte_alphabet;

/// Most bytes of which NFC makes one.
const NFC_SHRINKS: usize = 4;

/// What a text's bytes tell of its tokens.
pub(super) struct LeastTokens {
    /// Whether a byte of a text is a part of a token.
    counts: [bool; 256],
    /// Most of those bytes that one token stands for.
    pub(super) bytes_per_token: usize,
}

/// The parts of a tokenizer that matter.
pub(super) struct TokenizerParts<'a> {
    pub(super) normalizer: Option<&'a NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<&'a PreTokenizerWrapper>,
    pub(super) byte_fallback: bool,
    pub(super) added: &'a [AddedToken],
    /// In the vocabulary's spelling.
    pub(super) tokens: &'a [String],
    pub(super) bytes: &'a [Box<[u8]>],
}

impl LeastTokens {
    /// None if a token may stand for any number of bytes.
    pub(super) fn new(parts: &TokenizerParts<'_>) -> Option<Self> {
        if parts.added.iter().any(|token| token.lstrip || token.rstrip) {
            return None;
        }
        let spelled: HashSet<&str> = parts.tokens.iter().map(String::as_str).collect();
        // A special token has no bytes of its own, but its name is found in a text. Where `▁` is a space, the sign itself is taken for
        // one, so that the spelling, which is longer, counts.
        let longest = |spelling: bool| {
            let bytes_of = |(token, bytes): (&String, &[u8])| {
                if spelling || bytes.is_empty() { token.len() } else { bytes.len() }
            };
            let bytes = parts.bytes.iter().map(|bytes| &**bytes);
            let of_tokens = parts.tokens.iter().zip(bytes).map(bytes_of).max();
            of_tokens.max(parts.added.iter().map(|token| token.content.len()).max())
        };
        let shrinks = match parts.normalizer {
            None => 1,
            Some(NormalizerWrapper::NFC(_)) => NFC_SHRINKS,
            Some(other) if lengthens(other) => 1,
            Some(_) => return None,
        };
        if is_byte_level(parts.pre_tokenizer) {
            let mut counts = [false; 256];
            for (character, byte) in byte_alphabet() {
                counts[usize::from(byte)] = spelled.contains(character.encode_utf8(&mut [0; 4]) as &str);
            }
            return Some(Self { counts, bytes_per_token: longest(false)? * shrinks });
        }
        let spells_all =
            parts.byte_fallback && (0..=u8::MAX).all(|b| spelled.contains(format!("<0x{b:02X}>").as_str()));
        (parts.pre_tokenizer.is_none() && spells_all)
            .then(|| Some(Self { counts: [true; 256], bytes_per_token: longest(true)? * shrinks }))?
    }

    /// Tokens that `text` has at least.
    pub(super) fn of(&self, text: &str) -> usize {
        let counted = text.bytes().filter(|byte| self.counts[usize::from(*byte)]).count();
        counted.div_ceil(self.bytes_per_token.max(1))
    }
}

/// Whether bytes become characters before tokens are sought.
fn is_byte_level(pre_tokenizer: Option<&PreTokenizerWrapper>) -> bool {
    match pre_tokenizer {
        Some(PreTokenizerWrapper::ByteLevel(_)) => true,
        Some(PreTokenizerWrapper::Sequence(steps)) => {
            let keeps_all = |step: &PreTokenizerWrapper| match step {
                PreTokenizerWrapper::Split(split) => {
                    split.behavior != tokenizers::tokenizer::SplitDelimiterBehavior::Removed
                }
                PreTokenizerWrapper::ByteLevel(_) | PreTokenizerWrapper::Digits(_) => true,
                _ => false,
            };
            let steps = steps.as_ref();
            steps.iter().all(keeps_all) && steps.iter().any(|step| matches!(step, PreTokenizerWrapper::ByteLevel(_)))
        }
        _ => false,
    }
}

/// Whether it is of the steps of SentencePiece's: a sign in front, and a longer one for each space.
fn lengthens(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Prepend(_) => true,
        NormalizerWrapper::Replace(replace) => {
            let pattern = serde_json::to_value(replace).ok().map(|replace| replace["pattern"]["String"] == " ");
            pattern == Some(true) && !replace.content.is_empty()
        }
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().all(lengthens),
        _ => false,
    }
}
