//! [`RequestLine`]: one finished request.

use std::sync::Arc;

use eoscast_proto::domain::{FinishReason, ModelForecast, RequestId, WorkerId};
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, arrival_of};
use super::outcome::{Outcome, Pits};
use crate::prompt::PromptFeatures;

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
    /// 1 for the first outcome of the log, and so on; the number in the version of a model that has seen it last. 0 if models do not
    /// learn it: its steps do not bear its length out, or its worker has more than its share.
    pub outcome_number: u64,
    /// How many of these outcomes were censored.
    pub censored_outcomes: u64,
    /// The first step that length control steered, or may have: the natural length is known to be at least this, no more.
    #[serde(default)]
    pub steered_from: Option<u32>,
    /// Computed from the prompt's text, if the worker sent it.
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

    /// Whether models learn from it.
    pub fn is_learned(&self) -> bool {
        self.outcome_number > 0
    }

    /// Whether its service length is known: it ended by itself or at `max_tokens`.
    pub fn is_served_out(&self) -> bool {
        let Outcome { length, censored, .. } = self.outcome();
        !censored || self.finish_reason == FinishReason::Length && length == self.max_tokens
    }

    /// What was known of the request on arrival.
    pub fn arrival(&self) -> Arrival {
        arrival_of!(self, prompt: self.prompt_features)
    }
}
