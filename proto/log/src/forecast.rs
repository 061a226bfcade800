//! [`Forecast`]: what a model says of one request, in the form that travels and is logged.

use std::sync::Arc;

use eoscast_proto::domain::{END_WITHIN, LengthEstimate, QUANTILE_LEVELS, RequestId};
use serde::{Deserialize, Serialize};

/// A distribution over remaining service length, and the model state it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Kind of the model.
    pub source: Arc<str>,
    /// State of the model.
    pub model_version: Arc<str>,
    /// Expected tokens.
    pub mean: f32,
    /// Tokens at [`QUANTILE_LEVELS`].
    pub quantiles: [f32; QUANTILE_LEVELS.len()],
    /// Probability of a natural end within [`END_WITHIN`] tokens.
    pub end_within: [f32; END_WITHIN.len()],
}

impl Forecast {
    /// The estimate of `request_id` after `step` tokens.
    pub fn to_estimate(&self, request_id: &RequestId, step: u32) -> LengthEstimate {
        LengthEstimate {
            request_id: request_id.clone(),
            step,
            source: self.source.as_ref().to_owned(),
            model_version: self.model_version.as_ref().to_owned(),
            mean: self.mean,
            quantiles: self.quantiles,
            end_within: self.end_within,
        }
    }

    /// Whether both are equal bit for bit.
    pub fn same_bits(&self, other: &Self) -> bool {
        let bits = |f: &Self| {
            let numbers = std::iter::once(f.mean).chain(f.quantiles).chain(f.end_within);
            numbers.map(f32::to_bits).collect::<Vec<_>>()
        };
        self.source == other.source && self.model_version == other.model_version && bits(self) == bits(other)
    }
}
