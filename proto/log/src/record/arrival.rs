//! [`Arrival`]: what is known of a request before its first token.

use crate::prompt::PromptFeatures;

/// What is known of a request before its first token. Only logs of others lack numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Tokens of the prompt.
    pub prompt_length: Option<u32>,
    /// Most tokens the reply may have.
    pub max_tokens: Option<u32>,
    /// Sampling temperature, 0 is greedy.
    pub temperature: Option<f32>,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// Computed from the prompt's text, if the worker sent it.
    pub prompt: Option<PromptFeatures>,
}

impl Arrival {
    /// A prompt of 5 tokens, whose text is not known, at temperature 1 for at most 100 tokens.
    #[doc(hidden)]
    pub const fn for_test() -> Self {
        Self { prompt_length: Some(5), max_tokens: Some(100), temperature: Some(1.0), ignore_eos: false, prompt: None }
    }

    /// Most tokens the reply may have, as far as is known.
    pub fn limit(&self) -> u32 {
        self.max_tokens.unwrap_or(u32::MAX)
    }
}

/// The [`Arrival`] of a line, or of anything else with its fields.
macro_rules! arrival_of {
    ($line:expr, prompt: $prompt:expr) => {
        $crate::record::Arrival {
            prompt_length: $line.prompt_length.into(),
            max_tokens: $line.max_tokens.into(),
            temperature: $line.temperature.into(),
            ignore_eos: $line.ignore_eos,
            prompt: $prompt,
        }
    };
}
pub(crate) use arrival_of;
