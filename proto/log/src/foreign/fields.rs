//! [`Fields`]: the fields of a step line that are read, each as far as it is known; and how they become an [`AnyStep`].

use std::sync::Arc;

use eoscast_proto::domain::{FinishReason, limits};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::any_step::AnyStep;
use super::ending::Ending;
use super::fault::Fault;
use crate::record::Signals;

/// The natural logarithm of a probability that a 32-bit number rounds to 0: what minus infinity stands for, so that means and slopes
/// stay numbers.
const LEAST_LOGPROB: f32 = -104.0;

/// Most tokens of a reply: a line that claims more would make readers allocate for them.
pub const MOST_TOKENS: u32 = 1 << 22;

/// So far above 0 a log-probability may be by rounding.
const ROUNDING: f32 = 1e-3;

/// What pandas, polars, numpy and Python write for nothing.
const NOTHING: [&str; 8] = ["", "null", "none", "nan", "nat", "na", "n/a", "<na>"];

/// Whether `text` stands for a value that is not there.
pub(super) fn is_nothing(text: &str) -> bool {
    NOTHING.iter().any(|nothing| text.trim().eq_ignore_ascii_case(nothing))
}

const NO_PROBABILITY: &str = "eos_logprob or eos_prob is not of a probability";

/// What is read of a step line. `serde` reads so what is spelled as our own logs spell it; [`lenient`](super::lenient) the rest.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Fields<'a> {
    pub request_id: Option<Arc<str>>,
    pub timestamp: Option<f64>,
    pub step: Option<u32>,
    pub current_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
    /// The others, where a log has a list of them.
    #[serde(skip)]
    pub other_eos_token_ids: Vec<u32>,
    pub eos_logprob: Option<f32>,
    pub eos_prob: Option<f32>,
    pub is_finished: Option<bool>,
    pub finish_reason: Option<String>,
    pub prompt_length: Option<u32>,
    pub output_length: Option<u32>,
    /// Absent it is not known; null says that the reply cannot end here.
    #[serde(default, deserialize_with = "present")]
    pub eos_logprob_sampled: Option<Option<f32>>,
    pub token_logprob: Option<f32>,
    pub entropy: Option<f32>,
    pub top_logprob: Option<f32>,
    pub eos_rank: Option<u32>,
    pub sentence_end_logprob: Option<f32>,
    pub newline_logprob: Option<f32>,
    pub temperature: Option<f32>,
    pub max_tokens: Option<u32>,
    pub ignore_eos: Option<bool>,
    pub eos_bias: Option<f32>,
    pub worker_id: Option<Arc<str>>,
    pub epoch: Option<u64>,
    pub model: Option<Arc<str>>,
    pub task: Option<Arc<str>>,
    /// Not looked into: most readers want no sketches, and these are the longest part of a line.
    #[serde(borrow, rename = "sketch")]
    pub raw_sketch: Option<&'a RawValue>,
    #[serde(skip)]
    pub sketch: Vec<f32>,
}

fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<f32>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// A log-probability, or the fault of having one above 0.
fn logprob(value: Option<f32>, fault: &'static str) -> Result<Option<f32>, Fault> {
    match value {
        Some(value) if value.is_nan() => Ok(None),
        Some(f32::NEG_INFINITY) => Ok(Some(LEAST_LOGPROB)),
        Some(value) if value > ROUNDING => Err(Fault::of_kind(fault)),
        value => Ok(value.map(|value| value.min(0.0))),
    }
}

impl<'a> Fields<'a> {
    /// Reads the line, if it is spelled as ours.
    pub(super) fn read(line: &'a [u8], with_sketch: bool) -> Option<Self> {
        let mut fields: Self = serde_json::from_slice(line).ok()?;
        if let Some(raw) = fields.raw_sketch.filter(|_| with_sketch) {
            fields.sketch = serde_json::from_str(raw.get()).ok()?;
        }
        Some(fields)
    }

    /// The step of these fields.
    ///
    /// # Errors
    /// When the request or the step is not known, or a value is impossible.
    pub(super) fn step(self) -> Result<AnyStep, Fault> {
        let signals = self.signals()?;
        let ending = self.ending();
        let Some(request_id) = self.request_id.filter(|id| !id.is_empty()) else {
            return Err(Fault::of_kind("missing field `request_id`"));
        };
        // `output_length` counts tokens whatever the engine calls a step.
        let Some(tokens) = self.output_length.filter(|tokens| *tokens > 0).or(self.step).or(self.output_length) else {
            return Err(Fault::of_kind("missing field `step`"));
        };
        if tokens > MOST_TOKENS {
            return Err(Fault::of_kind("step or output_length is of more tokens than any reply has"));
        }
        if self.sketch.len() > limits::SKETCH || !self.sketch.iter().all(|value| value.is_finite()) {
            return Err(Fault::of_kind("sketch: has too many numbers, or some that are none"));
        }
        Ok(AnyStep {
            request_id,
            worker_id: self.worker_id,
            epoch: self.epoch,
            model: self.model,
            task: self.task,
            timestamp: self.timestamp.filter(|seconds| seconds.is_finite()),
            tokens,
            token_id: self.current_token_id,
            eos_token_id: self.eos_token_id,
            ending,
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens.filter(|tokens| *tokens > 0),
            temperature: self.temperature.filter(|value| value.is_finite() && *value >= 0.0),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            eos_bias: self.eos_bias.filter(|bias| bias.is_finite()).unwrap_or(0.0),
            signals,
            sketch: self.sketch,
        })
    }

    fn signals(&self) -> Result<Signals, Fault> {
        let of_eos = match (logprob(self.eos_logprob, NO_PROBABILITY)?, self.eos_prob) {
            (Some(logprob), _) => Some(logprob),
            (None, Some(prob)) if prob < 0.0 => return Err(Fault::of_kind(NO_PROBABILITY)),
            (None, prob) => logprob(prob.map(f32::ln), NO_PROBABILITY)?,
        };
        let entropy = self.entropy.filter(|entropy| entropy.is_finite());
        if entropy.is_some_and(|entropy| entropy < -ROUNDING) {
            return Err(Fault::of_kind("entropy is negative"));
        }
        let sampled = match self.eos_logprob_sampled {
            None => None,
            Some(None | Some(f32::NEG_INFINITY)) => Some(f32::NEG_INFINITY),
            Some(value) => logprob(value, "eos_logprob_sampled is not of a probability")?,
        };
        Ok(Signals {
            eos_logprob: of_eos,
            eos_logprob_sampled: sampled,
            token_logprob: logprob(self.token_logprob, "token_logprob is not of a probability")?,
            entropy: entropy.map(|entropy| entropy.max(0.0)),
            top_logprob: logprob(self.top_logprob, "top_logprob is not of a probability")?,
            eos_rank: self.eos_rank,
            sentence_end_logprob: logprob(self.sentence_end_logprob, "sentence_end_logprob is not of a probability")?,
            newline_logprob: logprob(self.newline_logprob, "newline_logprob is not of a probability")?,
        })
    }

    /// How the reply ends with this step, if it does. Without a reason that is known, an EOS token is one.
    fn ending(&self) -> Option<Ending> {
        let reason = self.reason();
        if !self.is_finished.unwrap_or(reason.is_some()) {
            return None;
        }
        let reason = reason.unwrap_or(Ending::Unknown);
        let is_eos = |token: u32| self.eos_token_id == Some(token) || self.other_eos_token_ids.contains(&token);
        if reason == Ending::Unknown && self.current_token_id.is_some_and(is_eos) {
            return Some(Ending::By(FinishReason::Stop));
        }
        Some(reason)
    }

    /// What the finish reason says, if there is one.
    pub(super) fn reason(&self) -> Option<Ending> {
        self.finish_reason.as_deref().filter(|reason| !is_nothing(reason)).map(Ending::of_name)
    }
}
