//! The lines of the event log, field by field and in order.

use std::sync::Arc;

use eoscast_proto::domain::{
    FinishReason, ModelForecast, RequestId, RequestStarted, StepEvent, StepSignals, WorkerId, limits,
};
use serde::{Deserialize, Serialize};

use crate::prompt::PromptFeatures;

/// Seconds since 1970, exact to the microsecond.
pub fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

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

/// How long one finished reply was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Tokens generated.
    pub length: u32,
    /// The natural length is only known to be larger.
    pub censored: bool,
    /// Where it stood in forecasts of it, if these came from a trained model.
    pub pits: Option<Pits>,
}

impl Outcome {
    /// Of a reply that no trained model forecast.
    pub fn new(length: u32, censored: bool) -> Self {
        Self { length, censored, pits: None }
    }
}

/// Where a reply stood in the distributions that a trained model gave before calibration: P(length <= true length), for one
/// forecast of each age (tokens generated: 0-15, 16-63, 64-127, 128-255, 256 and more) that the reply came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pits {
    /// The first 32 bits of the SHA-256 of the model's artifact.
    pub artifact: u32,
    /// 0 to 1; of a cut reply, a lower bound.
    pub values: [Option<f32>; Self::AGES],
}

impl Pits {
    /// Number of ages.
    pub const AGES: usize = 5;
}

/// One step event. The first twelve fields have the names and meaning that EOS-probability logs already use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Whose.
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
    /// Of the message that told of the step.
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
    /// The event that it tells of, if a worker may send such a one.
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

    /// What was known of the request on arrival, but for its prompt, which only [`StartLine`] knows.
    pub fn arrival(&self) -> Arrival {
        Arrival {
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            ignore_eos: self.ignore_eos,
            prompt: None,
        }
    }
}

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartLine {
    /// Which.
    pub request_id: RequestId,
    /// When its worker told of it, seconds since 1970.
    pub timestamp: f64,
    /// Where it runs.
    pub worker_id: WorkerId,
    /// Run of the worker.
    pub epoch: u64,
    /// Of the message that told of it.
    pub sequence_number: u64,
    /// Model that generates the reply.
    pub model: Arc<str>,
    /// The EOS set.
    pub eos_token_ids: Vec<u32>,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// Tokens generated before the predictor heard of it.
    pub output_length: u32,
    /// Most tokens the reply may have.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// What was answered, if a predictor was there.
    pub estimate: Option<ModelForecast>,
    /// Length that the worker's length control aims at, if it is on.
    #[serde(default)]
    pub target_tokens: Option<u32>,
    /// Of the prompt's text, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_features: Option<PromptFeatures>,
}

impl StartLine {
    /// What its worker told of it, but for the text of the prompt, which is not logged.
    pub fn started(&self) -> RequestStarted {
        RequestStarted {
            request_id: self.request_id.clone(),
            model: self.model.as_ref().to_owned(),
            eos_token_ids: self.eos_token_ids.clone(),
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            task: self.task.as_deref().map(str::to_owned),
            output_length: self.output_length,
            ignore_eos: self.ignore_eos,
            target_tokens: self.target_tokens,
            prompt: None,
        }
    }

    /// What was known of the request on arrival.
    pub fn arrival(&self) -> Arrival {
        Arrival {
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            ignore_eos: self.ignore_eos,
            prompt: self.prompt_features,
        }
    }
}

/// One finished request: the outcome that models learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLine {
    /// Which.
    pub request_id: RequestId,
    /// Where it ran.
    pub worker_id: WorkerId,
    /// Run of the worker.
    pub epoch: u64,
    /// Model that generated the reply.
    pub model: Arc<str>,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// When it ended, seconds since 1970.
    pub timestamp: f64,
    /// When it arrived.
    pub started_at: f64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// Tokens generated.
    pub output_length: u32,
    /// `prompt_length + output_length`.
    pub total_length: u64,
    /// Most tokens the reply might have had.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
    /// The reply could not end by itself.
    pub ignore_eos: bool,
    /// The natural length is only known to be larger than `output_length`.
    pub censored: bool,
    /// What was answered on arrival; null if the predictor began to see the request later.
    pub first_estimate: Option<ModelForecast>,
    /// Tokens generated when it was made: 0, unless the request had begun before the predictor heard of it.
    pub first_length: u32,
    /// Steps seen by the predictor.
    pub steps_observed: u32,
    /// EOS probability at the last step seen, 0 if there was none; so are the next three.
    pub final_eos_prob: f32,
    /// Its mean over the reply.
    pub mean_eos_prob: f32,
    /// Its maximum.
    pub max_eos_prob: f32,
    /// Its population standard deviation.
    pub std_eos_prob: f32,
    /// 1 for the first outcome of the log, and so on; the number in the version of a model that has seen it last.
    pub outcome_number: u64,
    /// How many of these outcomes were censored.
    pub censored_outcomes: u64,
    /// The first step that length control steered, or may have: the natural length is known to be at least this, no more.
    #[serde(default)]
    pub steered_from: Option<u32>,
    /// Of the prompt's text, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_features: Option<PromptFeatures>,
    /// Where the reply stood in forecasts of it, if these came from a trained model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pits: Option<Pits>,
}

impl RequestLine {
    /// What models learn from it: of a steered reply, that it went on up to the step before the first steered one.
    pub fn outcome(&self) -> Outcome {
        let length = self.steered_from.map_or(self.output_length, |step| step.saturating_sub(1));
        Outcome { length, censored: self.censored, pits: self.pits }
    }

    /// Whether its service length is known: it ended by itself or at `max_tokens`.
    pub fn is_served_out(&self) -> bool {
        let Outcome { length, censored, .. } = self.outcome();
        !censored || self.finish_reason == FinishReason::Length && length == self.max_tokens
    }

    /// What was known of the request on arrival.
    pub fn arrival(&self) -> Arrival {
        Arrival {
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            ignore_eos: self.ignore_eos,
            prompt: self.prompt_features,
        }
    }
}

/// The lines that one message, or the passing of time, leads to.
#[derive(Debug, Default)]
pub struct Lines {
    /// Requests that arrived.
    pub starts: Vec<StartLine>,
    /// Requests that ended.
    pub requests: Vec<RequestLine>,
    /// Step events.
    pub steps: Vec<StepLine>,
}

impl Lines {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.requests.is_empty() && self.steps.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests;
