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

/// A way to cut text, and the names that GGUF files give it in `tokenizer.ggml.pre` (in llama.cpp, `llama-vocab.cpp`).
type Named = (&'static [&'static str], fn() -> Result<PreTokenizer, TokenizerError>);

const KNOWN: &[Named] = &[
    (
        &[
            "a.x-4.0",
            "exaone4",
            "gigachat",
            "gpt-2",
            "granite-docling",
            "jais",
            "mellum",
            "mpt",
            "olmo",
            "phi-2",
            "trillion",
        ],
        || Ok(plain(gpt2().into())),
    ),
    (&["codeshell", "command-r", "exaone", "mellum2", "minerva-7b", "refact", "smollm", "starcoder"], || {
        Ok(plain(Sequence::new(vec![Digits::new(true).into(), gpt2().into()]).into()))
    }),
    (&["chatglm-bpe", "dbrx", "glm4", "smaug-bpe"], || Ok(plain(patterns(&[LLAMA3])?))),
    (&["falcon-h1", "falcon3", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0", "pixtral"], || {
        Ok(PreTokenizer { ignore_merges: true, add_bos: true, ..plain(patterns(&[LLAMA3])?) })
    }),
    (&["qwen2"], || Ok(PreTokenizer { normalizer: Some(NFC.into()), ..plain(patterns(&[QWEN2])?) })),
    (&["deepseek-r1-qwen", "f2llmv2", "grok-2", "hunyuan", "kormo", "megrez", "solar-open", "stablelm2"], || {
        Ok(plain(patterns(&[QWEN2])?))
    }),
    (&["seed-coder"], || Ok(plain(patterns(&[SEED_CODER])?))),
    (&["tekken"], || Ok(PreTokenizer { ignore_merges: true, add_bos: true, ..plain(patterns(&[TEKKEN])?) })),
    (&["deepseek-coder"], || Ok(plain(patterns(DEEPSEEK_CODER)?))),
    (&["default"], || Ok(plain(patterns(DEFAULT)?))),
];

/// The split pattern of Llama 3's published tokenizer: numbers in groups of up to three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The split pattern of Qwen2's published tokenizer: numbers digit by digit.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// That of Seed-Coder: as Qwen2's, but line breaks stay apart from signs.
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// That of Mistral NeMo (Tekken): words are cut where lower case goes over to upper case.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-2's own pattern.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Those of DeepSeek Coder, one after the other.
const DEEPSEEK_CODER: &[&str] = &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"];
/// What llama.cpp does where a file does not say.
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

/// Where a pattern cuts in any case.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cuts {
    /// After letters that a space or a sign follows.
    pub(super) letters: bool,
    /// After numbers that a space or a sign follows.
    pub(super) numbers: bool,
    pub(super) each_digit: bool,
}

/// What a pattern cuts in any case. None for a pattern that is not one of ours, so that nothing is known of it.
pub(super) fn certain_cuts(regex: &str) -> Option<Cuts> {
    let none = Cuts::default();
    match regex {
        QWEN2 | SEED_CODER | TEKKEN => Some(Cuts { letters: true, numbers: true, each_digit: true }),
        LLAMA3 | GPT2 => Some(Cuts { letters: true, numbers: true, ..none }),
        r"\p{N}" => Some(Cuts { numbers: true, each_digit: true, ..none }),
        r"\p{N}+" => Some(Cuts { numbers: true, ..none }),
        r"\s?\p{L}+" => Some(Cuts { letters: true, ..none }),
        _ if DEEPSEEK_CODER.contains(&regex) || DEFAULT.contains(&regex) => Some(none),
        _ => None,
    }
}

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
    match KNOWN.iter().find(|(names, _)| names.contains(&name)) {
        Some((_, build)) => build(),
        None => {
            Err(TokenizerError::UnsupportedPreTokenizer { name: name.to_owned(), supported: supported().join(", ") })
        }
    }
}

/// The names that [`by_name`] knows, in order.
fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = KNOWN.iter().flat_map(|(names, _)| *names).copied().collect();
    names.sort_unstable();
    names
}

fn plain(split: PreTokenizerWrapper) -> PreTokenizer {
    PreTokenizer { normalizer: None, split, ignore_merges: false, add_bos: false }
}

fn gpt2() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// Splits by each regular expression in turn, then maps bytes to the vocabulary's alphabet.
fn patterns(regexes: &[&str]) -> Result<PreTokenizerWrapper, TokenizerError> {
    let split = |regex: &&str| -> Result<PreTokenizerWrapper, TokenizerError> {
        let pattern = SplitPattern::Regex((*regex).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(TokenizerError::library)?;
        Ok(split.into())
    };
    let mut steps = regexes.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::seams::Seams;
    use proptest::prelude::*;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    fn splits(name: &str, text: &str) -> Vec<String> {
        splits_by(&by_name(name).unwrap().split, text)
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
    fn tekken_cuts_where_lower_case_goes_over_to_upper_case() {
        assert_eq!(splits("tekken", "camelCase HTML 42"), ["camel", "Case", " HTML", " ", "4", "2"]);
    }

    #[test]
    fn without_a_name_text_is_cut_as_llama_cpp_does() {
        assert_eq!(splits("default", "it's 12345, ok"), ["it", "'", "s", " ", "123", "45", ",", " ok"]);
    }

    #[test]
    fn deepseek_coder_keeps_line_breaks_and_digits_apart() {
        assert_eq!(splits("deepseek-coder", "a = 12\n\nb"), ["a", " = ", "1", "2", "Ċ", "Ċ", "b"]);
    }

    #[test]
    fn every_supported_name_is_known_and_others_are_refused_with_the_list() {
        for name in supported() {
            assert!(by_name(name).is_ok(), "{name}");
        }
        let error = by_name("klingon").err().unwrap().to_string();
        assert!(error.contains("klingon") && error.contains("smollm"), "{error}");
    }

    fn splits_by(split: &PreTokenizerWrapper, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        split.pre_tokenize(&mut pieces).unwrap();
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, _, _)| piece.replace('Ġ', " ")).collect()
    }

    #[test]
    fn a_text_that_is_cut_at_a_seam_is_split_as_the_whole() {
        let texts = "[aTs9 0'!,.\\n\\r\\t。，é字な가\u{301}-]{1,24}";
        for name in supported() {
            let PreTokenizer { normalizer, split, .. } = by_name(name).unwrap();
            let seams = Seams::of(normalizer.as_ref(), Some(&split), &[]);
            assert_ne!(seams, Seams::None, "{name} has no seams");
            proptest!(ProptestConfig::with_cases(64), |(text in texts)| {
                let whole = splits_by(&split, &text);
                for (at, _) in text.char_indices().filter(|(at, _)| seams.is_seam(&text, *at)) {
                    let parts = [splits_by(&split, &text[..at]), splits_by(&split, &text[at..])].concat();
                    prop_assert_eq!(&whole, &parts, "{} at {}", name, at);
                }
            });
        }
    }
}
