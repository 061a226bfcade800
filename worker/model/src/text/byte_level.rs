//! Byte-level BPE (GPT-2, Llama 3, SmolLM2): merges are listed in the file, every byte has a character.

use std::collections::HashMap;

use tokenizers::models::bpe::BPE;

use super::error::TokenizerError;
use super::gguf_vocabulary::{GgufVocabulary, Scheme};
use super::pre_tokenizer;
use crate::checkpoint::Metadata;

/// Reads the scheme of a file whose `tokenizer.ggml.model` is `gpt2`.
pub(super) fn scheme(
    metadata: Metadata<'_>,
    vocabulary: &GgufVocabulary<'_>,
    warnings: &mut Vec<String>,
) -> Result<Scheme, TokenizerError> {
    let name = metadata.optional_text("tokenizer.ggml.pre")?.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        warnings.push(
            "`tokenizer.ggml.pre` is missing: text is cut as by `default`, which may not be how the model was trained; \
             convert the model again"
                .to_owned(),
        );
        "default"
    });
    let pre = pre_tokenizer::by_name(name)?;
    let merges = merges(&metadata.texts("tokenizer.ggml.merges")?, vocabulary)?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.to_library(), merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(TokenizerError::library)?;
    let alphabet = byte_alphabet();
    Ok(Scheme {
        bpe,
        normalizer: pre.normalizer,
        pre_tokenizer: Some(pre.split),
        add_bos: pre.add_bos,
        bytes: vocabulary.tokens.iter().map(|text| token_bytes(text, &alphabet)).collect(),
    })
}

/// Splits `left right` pairs.
fn merges(entries: &[&str], vocabulary: &GgufVocabulary<'_>) -> Result<Vec<(String, String)>, TokenizerError> {
    entries
        .iter()
        .map(|entry| {
            let (left, right) = entry.split_once(' ').unwrap_or((entry, ""));
            checked_merge(left, right, |text| vocabulary.ids.contains_key(text))
        })
        .collect()
}

/// The library panics on a merge whose parts or result are not in the vocabulary, so check.
pub(super) fn checked_merge(
    left: &str,
    right: &str,
    known: impl Fn(&str) -> bool,
) -> Result<(String, String), TokenizerError> {
    if known(left) && known(right) && known(&format!("{left}{right}")) {
        return Ok((left.to_owned(), right.to_owned()));
    }
    let merge = format!("{left} {right}");
    Err(TokenizerError::Inconsistent(format!("merge {:?} does not join two tokens into a third", merge.trim_end())))
}

/// The reversible byte-to-character map of GPT-2's published encoder (`bytes_to_unicode`): printable Latin-1 stands for
/// itself, the other bytes for the characters from U+0100 on.
pub(super) fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let shifted = (0..=u8::MAX).filter(|byte| !printable(byte));
    (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)).chain(('\u{100}'..).zip(shifted)).collect()
}

/// A token added by hand may be written in plain characters instead of the byte alphabet.
pub(super) fn token_bytes(text: &str, alphabet: &HashMap<char, u8>) -> Box<[u8]> {
    let mapped: Option<Box<[u8]>> = text.chars().map(|character| alphabet.get(&character).copied()).collect();
    mapped.unwrap_or_else(|| text.as_bytes().into())
}
