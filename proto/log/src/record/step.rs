//! [`StepLine`]: one step event.

use std::sync::Arc;

use eoscast_proto::domain::{FinishReason, ModelForecast, RequestId, StepEvent, StepSignals, WorkerId, limits};
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, arrival_of};

/// The fields that EOS-probability logs of any engine have, in the order of a [`StepLine`], which begins with them.
pub const CLASSIC_FIELDS: [&str; 12] = [
    "request_id",
    "timestamp",
    "step",
    "current_token_id",
    "eos_token_id",
    "eos_logprob",
    "eos_prob",
    "is_finished",
    "finish_reason",
    "prompt_length",
    "output_length",
    "total_length",
];

/// One step event. The first fields are the [`CLASSIC_FIELDS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Request that the token belongs to.
    pub request_id: RequestId,
    /// When the step ended, seconds since 1970.
    pub timestamp: f64,
    /// Tokens generated so far, this one included.
    pub step: u32,
    /// The sampled token.
    pub current_token_id: u32,
    /// The main EOS token.
    pub eos_token_id: u32,
    /// Natural logarithm of the EOS set's probability, from the raw logits.
    pub eos_logprob: f32,
    /// `exp(eos_logprob)`.
    pub eos_prob: f32,
    /// Whether this token is the last one.
    pub is_finished: bool,
    /// Why it is.
    pub finish_reason: Option<FinishReason>,
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// The same as `step`.
    pub output_length: u32,
    /// `prompt_length + output_length`.
    pub total_length: u64,
    /// As `eos_logprob`, after temperature, penalties, length control, truncation and masks; null where the reply could not end.
    pub eos_logprob_sampled: Option<f32>,
    /// Natural logarithm of the sampled token's probability, from the raw logits.
    pub token_logprob: f32,
    /// Of the raw distribution, in nats.
    pub entropy: f32,
    /// Natural logarithm of the most likely token's probability.
    pub top_logprob: f32,
    /// Rank of the most likely EOS token, 1 is the top.
    pub eos_rank: u32,
    /// Sampling temperature.
    pub temperature: f32,
    /// Where it runs.
    pub worker_id: WorkerId,
    /// Model that generates the reply.
    pub model: Arc<str>,
    /// Number of the message that brought the step.
    pub sequence_number: u64,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// What was answered at this step; null at the last one.
    pub estimate: Option<ModelForecast>,
    /// Most tokens the reply may have.
    pub max_tokens: u32,
    /// Run of the worker.
    pub epoch: u64,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// Steps of this request that the predictor has seen in a row, this one included; 1 where its features begin.
    pub observed: u32,
    /// Nats by which the worker's length control raised EOS before this token was drawn; above 0, the step is no natural one.
    #[serde(default)]
    pub eos_bias: f32,
    /// Natural logarithm of the probability of the tokens that end a sentence, from the raw logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence_end_logprob: Option<f32>,
    /// The same of the tokens with a line break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newline_logprob: Option<f32>,
    /// Projection of the hidden state that the token was drawn from.
    #[serde(default = "no_sketch", skip_serializing_if = "<[f32]>::is_empty")]
    pub sketch: Arc<[f32]>,
}

fn no_sketch() -> Arc<[f32]> {
    [].into()
}

impl StepLine {
    /// The event on this line; `None` if it has values that no worker may send.
    pub fn event(&self) -> Option<StepEvent> {
        let mut logprobs = [self.eos_logprob, self.token_logprob, self.top_logprob]
            .into_iter()
            .chain(self.sentence_end_logprob)
            .chain(self.newline_logprob);
        let valid = logprobs.all(|l| l.is_finite() && l <= 0.0)
            && self.eos_logprob_sampled.is_none_or(|l| l <= 0.0)
            && self.sketch.len() <= limits::SKETCH
            && self.sketch.iter().all(|value| value.is_finite())
            && self.entropy.is_finite()
            && self.entropy >= 0.0
            && self.temperature >= 0.0
            && self.step >= 1;
        valid.then(|| StepEvent {
            request_id: self.request_id.clone(),
            step: self.step,
            token_id: self.current_token_id,
            signals: StepSignals {
                eos_logprob: self.eos_logprob,
                eos_logprob_sampled: self.eos_logprob_sampled.unwrap_or(f32::NEG_INFINITY),
                token_logprob: self.token_logprob,
                entropy: self.entropy,
                top_logprob: self.top_logprob,
                eos_rank: self.eos_rank,
                sentence_end_logprob: self.sentence_end_logprob,
                newline_logprob: self.newline_logprob,
            },
            finish_reason: self.finish_reason,
            eos_bias: self.eos_bias,
            sketch: self.sketch.clone(),
        })
    }

    /// What was known of the request on arrival, but for its prompt, which only [`StartLine`](super::StartLine) knows.
    pub fn arrival(&self) -> Arrival {
        arrival_of!(self, prompt: None)
    }
}
