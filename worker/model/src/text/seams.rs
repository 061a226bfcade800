//! Where a text may be cut before it is encoded, so that a long one costs little memory and can be given up on the way.
//!
//! A seam is a place between two characters that every step of the pre-tokenizer either cuts anyway or does not look across: after
//! a letter or a digit, before a space, a line break or a comma. There, the tokens of the two parts are the tokens of the whole.

use tokenizers::AddedToken;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::pre_tokenizer::{Cuts, certain_cuts};

/// Bytes of a part, unless there is no seam for longer.
const PART_BYTES: usize = 32 * 1024;

/// The seams that hold for a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seams {
    /// A text has to be encoded as a whole.
    None,
    /// After a word or a number.
    AfterWords,
    /// Also after each digit.
    AfterWordsAndDigits,
}

impl Seams {
    /// None unless each part of the tokenizer is known to keep them.
    pub(super) fn of(
        normalizer: Option<&NormalizerWrapper>,
        pre_tokenizer: Option<&PreTokenizerWrapper>,
        added: &[AddedToken],
    ) -> Self {
        let Some(pre_tokenizer) = pre_tokenizer else { return Self::None };
        // NFC composes neither spaces nor signs with what stands before them.
        if !matches!(normalizer, None | Some(NormalizerWrapper::NFC(_))) {
            return Self::None;
        }
        let steps = match pre_tokenizer {
            PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
            step => std::slice::from_ref(step),
        };
        let mut cuts = Cuts::default();
        for step in steps {
            let of_step = match step {
                PreTokenizerWrapper::ByteLevel(step) if !step.add_prefix_space => {
                    Cuts { letters: step.use_regex, numbers: step.use_regex, each_digit: false }
                }
                PreTokenizerWrapper::Digits(step) => {
                    Cuts { letters: false, numbers: true, each_digit: step.individual_digits }
                }
                PreTokenizerWrapper::Split(Split { pattern: SplitPattern::Regex(regex), invert: false, .. }) => {
                    let Some(cuts) = certain_cuts(regex) else { return Self::None };
                    cuts
                }
                _ => return Self::None,
            };
            cuts.letters |= of_step.letters;
            cuts.numbers |= of_step.numbers;
            cuts.each_digit |= of_step.each_digit;
        }
        let seams = match cuts {
            Cuts { letters: true, numbers: true, each_digit: true } => Self::AfterWordsAndDigits,
            Cuts { letters: true, numbers: true, .. } => Self::AfterWords,
            _ => Self::None,
        };
        if added.iter().any(|token| seams.is_crossed_by(token)) { Self::None } else { seams }
    }

    /// Whether a token that is found before the text is cut may reach across a seam.
    fn is_crossed_by(self, token: &AddedToken) -> bool {
        let content = token.content.as_str();
        let takes_spaces = token.rstrip && content.ends_with(ends_word);
        token.single_word || takes_spaces || content.char_indices().skip(1).any(|(at, _)| self.is_seam(content, at))
    }

    /// Whether `text` may be cut before the byte `at`, where a character begins.
    pub(super) fn is_seam(self, text: &str, at: usize) -> bool {
        let (before, after) = text.split_at(at);
        let (Some(before), Some(after)) = (before.chars().next_back(), after.chars().next()) else { return false };
        match self {
            Self::None => false,
            Self::AfterWordsAndDigits if before.is_ascii_digit() => true,
            _ => ends_word(before) && parts_words(after),
        }
    }

    /// The parts of `text`, in order; each but the last one ends at a seam.
    pub(super) fn parts(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let part = rest.get(..self.end_of_part(rest)).filter(|part| !part.is_empty())?;
            rest = &rest[part.len()..];
            Some(part)
        })
    }

    fn end_of_part(self, text: &str) -> usize {
        if self == Self::None || text.len() <= PART_BYTES {
            return text.len();
        }
        let from = text.floor_char_boundary(PART_BYTES);
        let places = text[from..].char_indices().map(|(at, _)| from + at);
        places.into_iter().find(|at| self.is_seam(text, *at)).unwrap_or(text.len())
    }
}

/// Some of the characters that patterns call letters or numbers (`\p{L}`, `\p{N}`).
fn ends_word(character: char) -> bool {
    match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' => true,
        // Latin-1, Cyrillic, kana, Han, Hangul.
        '\u{D7}' | '\u{F7}' => false,
        '\u{C0}'..='\u{FF}' | '\u{410}'..='\u{44F}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' => true,
        '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' => true,
        _ => false,
    }
}

/// Some of the characters that no pattern takes into the word before them.
fn parts_words(character: char) -> bool {
    matches!(character, ' ' | '\n' | ',' | '.' | '\u{3001}' | '\u{3002}' | '\u{FF0C}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_text_and_end_at_seams() {
        let text = "word ".repeat(20_000) + &"x".repeat(100_000) + " end";
        let parts: Vec<&str> = Seams::AfterWords.parts(&text).collect();
        assert_eq!(parts.concat(), text);
        assert!(parts.len() > 3 && parts[..parts.len() - 1].iter().all(|part| part.ends_with(ends_word)));
        assert!(parts.iter().any(|part| part.len() > 100_000), "a word is never cut");
    }

    #[test]
    fn a_text_without_seams_is_one_part() {
        assert_eq!(Seams::None.parts(&"word ".repeat(20_000)).count(), 1);
        assert_eq!(Seams::AfterWords.parts(&"1".repeat(100_000)).count(), 1);
        assert_eq!(Seams::AfterWordsAndDigits.parts(&"1".repeat(100_000)).count(), 4);
        assert_eq!(Seams::AfterWords.parts("").count(), 0);
    }

    #[test]
    fn a_token_that_reaches_across_seams_rules_them_out() {
        let by_level = crate::text::pre_tokenizer::by_name("smollm").ok().map(|found| found.split);
        let seams = |token: AddedToken| Seams::of(None, by_level.as_ref(), &[token]);
        assert_eq!(seams(AddedToken::from("<|im_start|>", true)), Seams::AfterWordsAndDigits);
        assert_eq!(seams(AddedToken::from("two words", true)), Seams::None);
        assert_eq!(seams(AddedToken::from("end", true).rstrip(true)), Seams::None);
    }
}
