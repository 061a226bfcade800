//! [`PromptFeatures`]: what a prompt's text says of the reply's length, in a form that may be logged. The text is not kept.

use serde::{Deserialize, Serialize};

/// The features, in the order of [`PromptFeatures::values`]. Counts are natural logarithms of 1 + count; shares are of all
/// characters; the others are 1 if it is so and 0 if not.
pub const PROMPT_FEATURE_NAMES: [&str; 40] = [
    "characters",
    "words",
    "lines",
    "sentences",
    "digits_share",
    "capitals_share",
    "punctuation_share",
    "not_ascii_share",
    "question_marks",
    "quotes",
    "bullets",
    "code_marks",
    "has_code_fence",
    "ends_with_question",
    "ends_with_colon",
    "words_asked_for",
    "sentences_asked_for",
    "paragraphs_asked_for",
    "items_asked_for",
    "largest_number",
    "asks_how_many",
    "asks_who_when_where",
    "asks_why_how",
    "asks_yes_no",
    "asks_for_choice",
    "asks_for_brevity",
    "asks_for_detail",
    "asks_for_steps",
    "asks_for_list",
    "asks_for_essay",
    "asks_for_story",
    "asks_for_poem",
    "asks_for_letter",
    "asks_for_code",
    "asks_for_translation",
    "asks_for_summary",
    "asks_for_rewriting",
    "asks_for_classification",
    "asks_for_calculation",
    "asks_for_role",
];

/// One number per [`PROMPT_FEATURE_NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct PromptFeatures {
    /// Finite.
    pub values: [f32; PROMPT_FEATURE_NAMES.len()],
}

/// Words or phrases of which one says that something is asked for; each stands at the start of a word.
const ASKED: [&[&str]; 20] = [
    &["how many", "how much", "how long", "how old", "how far"],
    &["who ", "when ", "where ", "which ", "what year", "whose "],
    &["why ", "how do", "how to", "how can", "how does", "how would", "explain"],
    &["is it ", "are there", "does ", "do you", "can you tell", "yes or no", "true or false", "is the following"],
    &["options", "choose", "choices", "(a)", "a)", "select the"],
    &[
        "brief",
        "short",
        "concise",
        "one sentence",
        "one word",
        "in a word",
        "single",
        "no more than",
        "at most",
        "less than",
    ],
    &["detail", "comprehensive", "in-depth", "thorough", "elaborate", "long ", "at least", "extensive", "complete"],
    &["step by step", "step-by-step", "steps", "guide", "tutorial", "instructions", "recipe", "plan"],
    &["list", "bullet", "ideas", "examples", "suggestions", "tips", "ways to", "top "],
    &["essay", "article", "blog", "report", "paper", "speech", "review", "proposal", "chapter", "thesis"],
    &["story", "novel", "scene", "dialogue", "script", "fiction", "tale", "plot", "character"],
    &["poem", "song", "lyrics", "haiku", "rhyme", "sonnet", "verse", "limerick"],
    &["letter", "email", "e-mail", "message", "tweet", "post", "memo", "invitation", "resume"],
    &["code", "function", "python", "javascript", "java", "program", "algorithm", "sql", "html", "implement", "def "],
    &["translate", "translation", "in french", "in german", "in spanish", "in english"],
    &["summar", "tl;dr", "tldr", "abstract", "main point", "key point"],
    &["rewrite", "rephrase", "paraphrase", "edit ", "correct ", "fix ", "improve", "proofread", "convert"],
    &["classify", "categor", "sentiment", "label", "identify", "extract", "detect"],
    &["calculate", "solve", "equation", "compute", "sum of", "probability", "percent", "total"],
    &["act as", "you are ", "pretend", "imagine", "role of", "i want you to", "persona"],
];

impl PromptFeatures {
    /// Of the text of a prompt.
    pub fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let characters = text.chars().count();
        let count = |is: fn(char) -> bool| text.chars().filter(|c| is(*c)).count();
        let share = |is: fn(char) -> bool| count(is) as f32 / characters.max(1) as f32;
        let flag = f32::from;
        let trimmed = text.trim_end();
        let bullet = |line: &&str| line.trim_start().starts_with(['-', '*', '•']);
        let numbers = numbers(&lower);
        let asked_for = |unit: &str| {
            let of_unit = numbers.iter().filter(|(_, after)| after.starts_with(unit)).map(|(n, _)| *n);
            log_count(of_unit.fold(0.0, f32::max))
        };
        let mut values = [0.0; PROMPT_FEATURE_NAMES.len()];
        values[..20].copy_from_slice(&[
            log_count(characters as f32),
            log_count(text.split_whitespace().count() as f32),
            log_count(text.lines().count() as f32),
            log_count(count(|c| matches!(c, '.' | '!' | '?')) as f32),
            share(|c| c.is_ascii_digit()),
            share(char::is_uppercase),
            share(|c| c.is_ascii_punctuation()),
            share(|c| !c.is_ascii()),
            log_count(count(|c| c == '?') as f32),
            log_count(count(|c| matches!(c, '"' | '“' | '”')) as f32),
            log_count(text.lines().filter(bullet).count() as f32),
            log_count(count(|c| matches!(c, '{' | '}' | ';' | '(' | ')' | '=' | '_')) as f32),
            flag(u8::from(text.contains("```"))),
            flag(u8::from(trimmed.ends_with('?'))),
            flag(u8::from(trimmed.ends_with(':'))),
            asked_for("word"),
            asked_for("sentence"),
            asked_for("paragraph"),
            log_count(numbers.iter().filter(|(_, after)| is_item(after)).map(|(n, _)| *n).fold(0.0, f32::max)),
            log_count(numbers.iter().map(|(n, _)| *n).fold(0.0, f32::max)),
        ]);
        for (value, phrases) in values[20..].iter_mut().zip(ASKED) {
            *value = flag(u8::from(phrases.iter().any(|phrase| starts_a_word(&lower, phrase))));
        }
        Self { values }
    }
}

fn log_count(count: f32) -> f32 {
    (1.0 + count).ln()
}

fn is_item(after: &str) -> bool {
    ["item", "idea", "example", "tip", "way", "reason", "step", "point", "bullet", "question", "different", "thing"]
        .iter()
        .any(|unit| after.starts_with(unit))
}

/// Whether `phrase` stands in `text` with no letter before it.
fn starts_a_word(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| !text[..at].chars().next_back().is_some_and(char::is_alphanumeric))
}

/// Numbers up to a million, in digits or small ones in words, each with the text that follows it.
fn numbers(text: &str) -> Vec<(f32, &str)> {
    const WORDS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let mut found = vec![];
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_alphanumeric()) {
        rest = &rest[start..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == ',')).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        let digits: String = token.chars().filter(|c| *c != ',').collect();
        let value = match WORDS.iter().position(|word| *word == token) {
            Some(value) => Some(value as f32),
            None => digits.parse::<u32>().ok().filter(|n| *n <= 1_000_000).map(|n| n as f32),
        };
        if let Some(value) = value {
            found.push((value, after.trim_start_matches([' ', '-', '+', '\n'])));
        }
        rest = after;
    }
    found
}

impl TryFrom<Vec<f32>> for PromptFeatures {
    type Error = String;

    fn try_from(values: Vec<f32>) -> Result<Self, Self::Error> {
        let count = values.len();
        match <[f32; PROMPT_FEATURE_NAMES.len()]>::try_from(values) {
            Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(Self { values }),
            _ => Err(format!("prompt_features: must be {} finite numbers, got {count}", PROMPT_FEATURE_NAMES.len())),
        }
    }
}

impl From<PromptFeatures> for Vec<f32> {
    fn from(features: PromptFeatures) -> Self {
        features.values.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feature(text: &str, name: &str) -> f32 {
        PromptFeatures::of(text).values[PROMPT_FEATURE_NAMES.iter().position(|n| *n == name).unwrap()]
    }

    #[test]
    fn a_length_that_is_asked_for_is_found() {
        assert_eq!(feature("Write an essay of 1,200 words about tea.", "words_asked_for"), 1201f32.ln());
        assert_eq!(feature("Answer in three sentences.", "sentences_asked_for"), 4f32.ln());
        assert_eq!(feature("Give me 5 different ideas", "items_asked_for"), 6f32.ln());
        assert_eq!(feature("Write a few words in 1999", "words_asked_for"), 0.0);
    }

    #[test]
    fn a_phrase_within_a_word_does_not_count() {
        assert_eq!(feature("the shortlist", "asks_for_list"), 0.0);
        assert_eq!(feature("a list of towns", "asks_for_list"), 1.0);
    }

    #[test]
    fn an_empty_prompt_has_features() {
        assert_eq!(PromptFeatures::of("").values, [0.0; 40]);
    }

    proptest! {
        #[test]
        fn any_text_gives_finite_features(text in "\\PC{0,300}") {
            prop_assert!(PromptFeatures::of(&text).values.iter().all(|value| value.is_finite()));
        }
    }
}
