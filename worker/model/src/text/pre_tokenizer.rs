//! How text is cut before byte-pair merging, by the name that GGUF files give it.

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::error::TokenizerError;

/// Names accepted in `tokenizer.ggml.pre`.
const SUPPORTED: &[&str] =
    &["command-r", "gpt-2", "llama-bpe", "llama-v3", "llama3", "qwen2", "refact", "smaug-bpe", "smollm", "starcoder"];

/// The split pattern of Llama 3's published tokenizer: numbers in groups of up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The split pattern of Qwen2's published tokenizer: numbers digit by digit.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a pre-tokenizer name implies.
pub(super) struct PreTokenizer {
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) split: PreTokenizerWrapper,
    /// A word that is in the vocabulary as a whole is one token, even if no merges lead to it.
    pub(super) ignore_merges: bool,
    /// Whether plain prompts start with BOS when the file does not say.
    pub(super) add_bos: bool,
}

/// Looks up `tokenizer.ggml.pre`. An unknown name is refused: a guess would tokenise almost right.
pub(super) fn by_name(name: &str) -> Result<PreTokenizer, TokenizerError> {
    let gpt2 = || ByteLevel::new(false, true, true);
    let plain =
        |split: PreTokenizerWrapper| PreTokenizer { normalizer: None, split, ignore_merges: false, add_bos: false };
    Ok(match name {
        "gpt-2" => plain(gpt2().into()),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            plain(Sequence::new(vec![Digits::new(true).into(), gpt2().into()]).into())
        }
        "smaug-bpe" => plain(pattern(LLAMA3)?),
        "llama3" | "llama-v3" | "llama-bpe" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..plain(pattern(LLAMA3)?) }
        }
        "qwen2" => PreTokenizer { normalizer: Some(NFC.into()), ..plain(pattern(QWEN2)?) },
        _ => {
            return Err(TokenizerError::UnsupportedPreTokenizer {
                name: name.to_owned(),
                supported: SUPPORTED.join(", "),
            });
        }
    })
}

/// Splits by `regex`, then maps bytes to the vocabulary's alphabet.
fn pattern(regex: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    let split = Split::new(SplitPattern::Regex(regex.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(TokenizerError::library)?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    fn splits(name: &str, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        by_name(name).unwrap().split.pre_tokenize(&mut pieces).unwrap();
        pieces
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(piece, _, _)| piece.replace('Ġ', " "))
            .collect()
    }

    #[test]
    fn smollm_splits_every_digit_and_adds_no_space_in_front() {
        assert_eq!(splits("smollm", "in 2024 it's"), ["in", " ", "2", "0", "2", "4", " it", "'s"]);
    }

    #[test]
    fn gpt2_keeps_numbers_whole_with_their_space() {
        assert_eq!(splits("gpt-2", "in 2024"), ["in", " 2024"]);
    }

    #[test]
    fn llama3_groups_digits_by_three() {
        assert_eq!(splits("llama-bpe", "in 20245 IT'S"), ["in", " ", "202", "45", " IT", "'S"]);
    }

    #[test]
    fn every_supported_name_is_known_and_others_are_refused_with_the_list() {
        for name in SUPPORTED {
            assert!(by_name(name).is_ok(), "{name}");
        }
        let error = by_name("klingon").err().unwrap().to_string();
        assert!(error.contains("klingon") && error.contains("smollm"), "{error}");
    }
}
