//! The predictor's answer.

use serde::{Deserialize, Serialize};

use super::{RequestId, RequestStarted, WorkerId};

/// Probability levels at which distributions travel.
pub const QUANTILE_LEVELS: [f32; 13] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// Horizons, in tokens, for which the probability of ending is given.
pub const END_WITHIN: [u32; 5] = [1, 8, 16, 32, 64];

/// A distribution over one request's remaining service length (tokens still to generate, at most `max_tokens - step`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LengthEstimate {
    /// Whose.
    pub request_id: RequestId,
    /// Tokens generated when it was made; 0 on arrival.
    pub step: u32,
    /// Kind of the model that answered.
    pub source: String,
    /// State of that model.
    pub model_version: String,
    /// Expected tokens.
    pub mean: f32,
    /// Tokens at [`QUANTILE_LEVELS`], never decreasing.
    pub quantiles: [f32; QUANTILE_LEVELS.len()],
    /// Probability of a natural end within [`END_WITHIN`] tokens, never decreasing.
    pub end_within: [f32; END_WITHIN.len()],
}

/// How long replies are before anything is known of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LengthPrior {
    /// Total reply length in tokens at [`QUANTILE_LEVELS`], never decreasing.
    pub quantiles: [f32; QUANTILE_LEVELS.len()],
    /// Expected tokens.
    pub mean: f32,
    /// Finished requests it rests on.
    pub outcomes: u64,
}

/// What the predictor sends back for step batches.
#[derive(Debug, Clone, PartialEq)]
pub struct StepsReply {
    /// Every batch up to this one is processed and, while `logged`, written.
    pub acknowledged: u64,
    /// False while the event log is off or has failed.
    pub logged: bool,
    /// Of requests that started or took a step, and go on.
    pub estimates: Vec<LengthEstimate>,
    /// When it is new.
    pub prior: Option<LengthPrior>,
}

/// One live request as the predictor sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestState {
    /// Where it runs.
    pub worker_id: WorkerId,
    /// What was known on arrival.
    pub started: RequestStarted,
    /// Tokens generated.
    pub output_length: u32,
    /// EOS probability of the last step, 0 before the first.
    pub eos_probability: f32,
    /// The latest.
    pub estimate: LengthEstimate,
}
