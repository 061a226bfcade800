//! SentencePiece BPE (Llama 2, Mistral): tokens have scores instead of merges, `▁` stands for a space, and bytes without a
//! token are spelled `<0x0A>`.
//!
//! Source: Kudo and Richardson 2018, <https://arxiv.org/abs/1808.06226>. At each step the two neighbours whose joined token has
//! the highest score are merged, so the merge list is every way to make a token of two others, best score first.

use std::cmp::Ordering;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::error::TokenizerError;
use super::gguf_vocabulary::{GgufVocabulary, Scheme, flag, token_type};
use crate::checkpoint::Metadata;

const SPACE: &str = "▁";

/// Longest token, in bytes, that merges are sought for; SentencePiece itself stops at 16 characters. Bounds the work.
const MAX_MERGED_BYTES: usize = 256;

/// Reads the scheme of a file whose `tokenizer.ggml.model` is `llama`.
pub(super) fn scheme(
    metadata: Metadata<'_>,
    vocabulary: &GgufVocabulary<'_>,
    warnings: &mut Vec<String>,
) -> Result<Scheme, TokenizerError> {
    let scores = metadata.f32s("tokenizer.ggml.scores")?;
    let (found, needed) = (scores.len(), vocabulary.tokens.len());
    let count = format!("`tokenizer.ggml.scores` has {found} entries for {needed} tokens");
    match found.cmp(&needed) {
        Ordering::Less => return Err(TokenizerError::Inconsistent(count)),
        Ordering::Equal => {}
        Ordering::Greater => warnings.push(format!("{count}: the last ones are ignored")),
    }
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary.to_library(), merges(vocabulary, &scores))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = vocabulary.first_of_type(token_type::UNKNOWN).filter(|text| !text.is_empty()) {
        builder = builder.unk_token(unknown.to_owned());
    }
    let spaces = Replace::new(" ", SPACE).map_err(TokenizerError::library)?;
    let normalizer: NormalizerWrapper = if flag(metadata, "tokenizer.ggml.add_space_prefix", warnings).unwrap_or(true) {
        Sequence::new(vec![Prepend::new(SPACE.to_owned()).into(), spaces.into()]).into()
    } else {
        spaces.into()
    };
    Ok(Scheme {
        bpe: builder.build().map_err(TokenizerError::library)?,
        normalizer: Some(normalizer),
        pre_tokenizer: None,
        add_bos: true,
        bytes: (vocabulary.tokens.iter().enumerate())
            .map(|(index, text)| token_bytes(text, vocabulary.token_type(index) == token_type::BYTE))
            .collect(),
    })
}

fn merges(vocabulary: &GgufVocabulary<'_>, scores: &[f32]) -> Vec<(String, String)> {
    let mergeable = |index: usize| {
        let plain = matches!(vocabulary.token_type(index), token_type::NORMAL | token_type::USER_DEFINED);
        plain && vocabulary.tokens[index].len() <= MAX_MERGED_BYTES
    };
    let mut merges = Vec::new();
    for (index, text) in vocabulary.tokens.iter().enumerate().filter(|(index, _)| mergeable(*index)) {
        for (place, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(place);
            if vocabulary.ids.contains_key(left) && vocabulary.ids.contains_key(right) {
                merges.push((scores[index], left, right));
            }
        }
    }
    merges.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// A byte without a token is spelled `<0x0A>`; `byte` says whether this may be one.
pub(super) fn token_bytes(text: &str, byte: bool) -> Box<[u8]> {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|_| byte);
    match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => [byte].into(),
        None => text.replace(SPACE, " ").into_bytes().into(),
    }
}
