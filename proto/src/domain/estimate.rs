//! The predictor's answer.

use serde::{Deserialize, Serialize};

use super::forecast::{ModelForecast, QUANTILE_LEVELS};
use super::{RequestId, RequestStarted, WorkerId};

/// A forecast of one live request, as it is sent to its worker. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthEstimate {
    /// The request.
    pub request_id: RequestId,
    /// Tokens generated when it was made; 0 on arrival.
    pub step: u32,
    /// What the model said.
    #[serde(flatten)]
    pub forecast: ModelForecast,
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
