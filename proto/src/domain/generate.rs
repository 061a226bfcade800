//! What a client asks a worker for.

use std::collections::BTreeMap;

use super::check::{above_zero, positive, within};
use super::{Conversation, RequestId};
use crate::status::FieldViolation;

/// Bounds that keep one request from costing others.
pub mod limits {
    /// Most stop texts of a request.
    pub const STOP_TEXTS: usize = 64;
    /// Most bytes of one stop text.
    pub const STOP_TEXT_BYTES: usize = 1024;
    /// Most stop tokens of a request.
    pub const STOP_TOKENS: usize = 256;
    /// Most of the likely tokens that are reported beside each token.
    pub const LOGPROBS: u32 = 20;
    /// Most characters of a task label.
    pub const TASK_CHARACTERS: usize = 64;
    /// Most characters of a prompt that the predictor is told.
    pub const PROMPT_CHARACTERS: usize = 16_384;
    /// Most numbers of the sketch of a hidden state.
    pub const SKETCH: usize = 64;
    /// Highest temperature.
    pub const TEMPERATURE: f32 = 100.0;
    /// Most nats of length control at its target.
    pub const CONTROL_STRENGTH: f32 = 100.0;
    /// Largest frequency or presence penalty in either direction.
    pub const PENALTY: f32 = 2.0;
    /// Most tokens of a request whose logits are shifted.
    pub const LOGIT_BIASES: usize = 1024;
    /// Largest shift of a logit in either direction.
    pub const LOGIT_BIAS: f32 = 100.0;
}

/// A checked request. What depends on the model (context, vocabulary, template) is checked by the worker.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateSpec {
    /// None: the worker chooses one.
    pub request_id: Option<RequestId>,
    /// What to continue.
    pub input: Input,
    /// How to choose tokens.
    pub sampling: SamplingParams,
    /// Lower is more urgent.
    pub priority: i32,
    /// Kind of work, if the client said so.
    pub task: Option<String>,
    /// Chunks carry EOS log-probabilities.
    pub include_eos_logprob: bool,
    /// Chunks carry the current estimate.
    pub include_estimate: bool,
}

/// A prompt in one of its forms; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Continued as it is.
    Text(String),
    /// Rendered with the model's chat template.
    Chat(Conversation),
    /// Already tokenised.
    TokenIds(Vec<u32>),
}

/// A label of the kind of work; an empty one is none.
///
/// # Errors
/// A violation of `task`, if it has control characters or more than [`limits::TASK_CHARACTERS`].
pub fn task_label(label: String) -> Result<Option<String>, FieldViolation> {
    let most = limits::TASK_CHARACTERS;
    if label.chars().count() > most || label.chars().any(char::is_control) {
        return Err(FieldViolation::new("task", format!("must be at most {most} characters, none of them control")));
    }
    Ok((!label.is_empty()).then_some(label))
}

/// Makes a reply end near a length instead of being cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthControl {
    /// Tokens of the reply, at least 1.
    pub target_tokens: u32,
    /// Nats added to the logits of the EOS set at the target at most, above 0; twice as many again at twice the target.
    pub strength: f32,
}

impl LengthControl {
    /// With a small chat model it makes an end of a sentence near the target likely, and few places within one.
    pub const DEFAULT_STRENGTH: f32 = 6.0;

    fn validate(self) -> Result<(), FieldViolation> {
        positive("target_tokens", self.target_tokens)?;
        above_zero("strength", self.strength, limits::CONTROL_STRENGTH)?;
        Ok(())
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// In (0, 1]; 1 is off.
    pub top_p: f32,
    /// 0 is off.
    pub top_k: u32,
    /// In [0, 1]; 0 is off.
    pub min_p: f32,
    /// Above 0; 1 is off.
    pub repetition_penalty: f32,
    /// Per occurrence in the reply.
    pub frequency_penalty: f32,
    /// Once, if the token is in the reply.
    pub presence_penalty: f32,
    /// At least 1; None: as many as the context holds.
    pub max_tokens: Option<u32>,
    /// The reply cannot end before this many tokens.
    pub min_tokens: u32,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// Tokens that end the reply, beside the EOS set.
    pub stop_token_ids: Vec<u32>,
    /// EOS tokens are never sampled.
    pub ignore_eos: bool,
    /// None: the worker chooses one.
    pub seed: Option<u64>,
    /// Likely tokens to report beside each token; None: no log-probabilities.
    pub logprobs: Option<u32>,
    /// The prompt's tokens are reported in the same way; needs `logprobs`.
    pub prompt_logprobs: bool,
    /// None: the model alone decides when to end.
    pub length_control: Option<LengthControl>,
    /// Added to the logits of these tokens, before penalties and temperature.
    pub logit_bias: BTreeMap<u32, f32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            seed: None,
            logprobs: None,
            prompt_logprobs: false,
            length_control: None,
            logit_bias: BTreeMap::new(),
        }
    }
}

impl SamplingParams {
    /// Checks every field against its range and against the others.
    ///
    /// # Errors
    /// The first field that is wrong, and what would be right.
    pub fn validate(&self) -> Result<(), FieldViolation> {
        within("temperature", self.temperature, 0.0, limits::TEMPERATURE)?;
        above_zero("top_p", self.top_p, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        above_zero("repetition_penalty", self.repetition_penalty, f32::INFINITY)?;
        within("frequency_penalty", self.frequency_penalty, -limits::PENALTY, limits::PENALTY)?;
        within("presence_penalty", self.presence_penalty, -limits::PENALTY, limits::PENALTY)?;
        if let Some(max_tokens) = self.max_tokens {
            positive("max_tokens", max_tokens)?;
            if self.min_tokens > max_tokens {
                let got = self.min_tokens;
                let description = format!("must be at most max_tokens {max_tokens}, got {got}");
                return Err(FieldViolation::new("min_tokens", description));
            }
        }
        if self.stop.len() > limits::STOP_TEXTS {
            let description = format!("at most {} texts, got {}", limits::STOP_TEXTS, self.stop.len());
            return Err(FieldViolation::new("stop", description));
        }
        for (i, text) in self.stop.iter().enumerate() {
            if text.is_empty() || text.len() > limits::STOP_TEXT_BYTES {
                let description = format!("must be 1 to {} bytes, got {}", limits::STOP_TEXT_BYTES, text.len());
                return Err(FieldViolation::new(format!("stop[{i}]"), description));
            }
        }
        if self.stop_token_ids.len() > limits::STOP_TOKENS {
            return Err(FieldViolation::new("stop_token_ids", format!("at most {} ids", limits::STOP_TOKENS)));
        }
        if let Some(got) = self.logprobs.filter(|n| *n > limits::LOGPROBS) {
            return Err(FieldViolation::new("logprobs", format!("must be at most {}, got {got}", limits::LOGPROBS)));
        }
        if self.logit_bias.len() > limits::LOGIT_BIASES {
            let description = format!("at most {} tokens, got {}", limits::LOGIT_BIASES, self.logit_bias.len());
            return Err(FieldViolation::new("logit_bias", description));
        }
        for (id, bias) in &self.logit_bias {
            within(&format!("logit_bias.{id}"), *bias, -limits::LOGIT_BIAS, limits::LOGIT_BIAS)?;
        }
        if let Some(control) = self.length_control {
            control.validate().map_err(|violation| violation.scope("length_control"))?;
            if self.ignore_eos {
                return Err(FieldViolation::new("length_control", "needs ignore_eos to be false"));
            }
        }
        Ok(())
    }
}
