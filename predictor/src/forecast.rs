//! [`Forecast`]: what a model says of one request, in the form that travels and is logged.

use std::sync::Arc;

use eoscast_proto::domain::{END_WITHIN, LengthEstimate, QUANTILE_LEVELS, RequestId};
use serde::{Deserialize, Serialize};

use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::models::LengthModel;

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
    /// What `model` says after `row`. Service length is natural length cut at `max_tokens`; a reply that cannot end by itself
    /// (`ignore_eos`) takes all that `max_tokens` leaves.
    pub fn new(model: &dyn LengthModel, row: &FeatureRow) -> Self {
        let left = row.arrival.max_tokens.saturating_sub(row.step).max(1);
        let (service, end_within) = if row.arrival.ignore_eos {
            (LengthDistribution::point(left), [0.0; END_WITHIN.len()])
        } else {
            let natural = model.predict(row);
            (natural.clip(left), END_WITHIN.map(|tokens| natural.p_end_within(tokens) as f32))
        };
        Self {
            source: model.kind().as_str().into(),
            model_version: model.version(),
            mean: service.mean() as f32,
            quantiles: QUANTILE_LEVELS.map(|level| service.quantile(f64::from(level)) as f32),
            end_within,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Arrival, FeatureState};
    use crate::models::{History, ModelKind};

    fn forecast(max_tokens: u32, step: u32, ignore_eos: bool) -> Forecast {
        let model = ModelKind::Prior.build(None, &History::default());
        let arrival = Arrival { prompt_length: 5, max_tokens, temperature: 1.0, ignore_eos };
        Forecast::new(model.as_ref(), &FeatureState::new(arrival, step).row())
    }

    #[test]
    fn service_length_is_cut_at_max_tokens_but_the_natural_end_is_not() {
        let forecast = forecast(40, 30, false);
        assert_eq!(forecast.quantiles[12], 10.0);
        assert!(forecast.mean < 10.0);
        assert!(forecast.end_within[4] < 0.5);
    }

    #[test]
    fn a_reply_that_cannot_end_takes_all_its_tokens() {
        let forecast = forecast(40, 30, true);
        assert_eq!((forecast.mean, forecast.quantiles[6]), (10.0, 10.0));
        assert_eq!(forecast.end_within, [0.0; 5]);
    }

    #[test]
    fn a_live_request_has_at_least_one_token_to_come() {
        assert_eq!(forecast(40, 99, false).mean, 1.0);
    }
}
