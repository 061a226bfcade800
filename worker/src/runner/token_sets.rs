//! Sets of tokens whose probability each step tells.

use eoscast_model::text::Vocabulary;

/// Marks that end a sentence, in the scripts that most text is written in.
const SENTENCE_ENDS: &[char] = &['.', '!', '?', '…', '。', '！', '？', '｡', '．', '؟', '۔', '।', '॥', '։', '။', '።'];

/// What may stand between the mark and the end of the token.
const CLOSERS: &[char] = &['"', '\'', '”', '’', '»', '›', ')', ']', '}', '」', '』', '）', '】', '》', '*', '_'];

/// Token ids by what they do to a reply. A set that is empty is not told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenSets {
    /// Every end-of-generation id.
    pub eos: Vec<u32>,
    /// Tokens whose text ends with a mark that ends a sentence, closing quotes, brackets and white space aside.
    pub sentence_end: Vec<u32>,
    /// Tokens with a line break in their text.
    pub newline: Vec<u32>,
}

impl TokenSets {
    /// The EOS set alone.
    #[must_use]
    pub(crate) fn of_eos(ids: &[u32]) -> Self {
        Self { eos: ids.to_vec(), ..Self::default() }
    }

    /// All sets, of a vocabulary with ids below `vocab_size`.
    #[must_use]
    pub(crate) fn of_vocabulary(eos: &[u32], vocabulary: &dyn Vocabulary, vocab_size: usize) -> Self {
        // Ids are u32 throughout.
        let ids = || 0..vocab_size as u32;
        Self {
            sentence_end: ids().filter(|id| ends_sentence(vocabulary.token_bytes(*id))).collect(),
            newline: ids().filter(|id| vocabulary.token_bytes(*id).contains(&b'\n')).collect(),
            ..Self::of_eos(eos)
        }
    }
}

fn ends_sentence(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().trim_end_matches(CLOSERS).ends_with(SENTENCE_ENDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(&'static [&'static str]);

    impl Vocabulary for Words {
        fn token_bytes(&self, id: u32) -> &[u8] {
            self.0[id as usize].as_bytes()
        }
    }

    #[test]
    fn tokens_are_told_apart_by_how_their_text_ends() {
        let words = Words(&["", "a", ".", " word.", "?\"", "!)\n", "\n", ".com", "。", "\n\n", "e.g", ".**"]);
        let sets = TokenSets::of_vocabulary(&[0], &words, words.0.len());
        assert_eq!(sets.eos, [0]);
        assert_eq!(sets.sentence_end, [2, 3, 4, 5, 8, 11]);
        assert_eq!(sets.newline, [5, 6, 9]);
    }

    #[test]
    fn a_part_of_a_character_ends_nothing() {
        assert!(!ends_sentence(b"\xE3\x80"));
        assert!(ends_sentence("\u{3002}".as_bytes()));
    }
}
