//! [`Arrival`]: what is known of a request before its first token.

use crate::prompt::PromptFeatures;

/// What is known of a request before its first token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// Most tokens the reply may have.
    pub max_tokens: u32,
    /// Sampling temperature, 0 is greedy.
    pub temperature: f32,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// Of the prompt's text, if that was told.
    pub prompt: Option<PromptFeatures>,
}

/// The [`Arrival`] that a line, or anything else with its fields, tells of.
macro_rules! arrival_of {
    ($line:expr, prompt: $prompt:expr) => {
        $crate::record::Arrival {
            prompt_length: $line.prompt_length,
            max_tokens: $line.max_tokens,
            temperature: $line.temperature,
            ignore_eos: $line.ignore_eos,
            prompt: $prompt,
        }
    };
}
pub(crate) use arrival_of;
