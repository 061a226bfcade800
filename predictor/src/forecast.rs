//! [`forecast`]: what a model says of one request.

use eoscast_log::forecast::Forecast;
use eoscast_proto::domain::{END_WITHIN, QUANTILE_LEVELS};

use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::models::{LengthModel, Memory};

/// What `model` says after `row`, given what it kept of the rows before. Service length is natural length cut at `max_tokens`; a reply that cannot end by itself
/// (`ignore_eos`) takes all that `max_tokens` leaves.
pub fn forecast(model: &dyn LengthModel, row: &FeatureRow, memory: &mut Memory) -> Forecast {
    let left = row.arrival.max_tokens.saturating_sub(row.step).max(1);
    let (service, end_within) = if row.arrival.ignore_eos {
        (LengthDistribution::point(left), [0.0; END_WITHIN.len()])
    } else {
        let natural = model.predict(row, memory);
        (natural.clip(left), END_WITHIN.map(|tokens| natural.p_end_within(tokens) as f32))
    };
    Forecast {
        source: model.kind().as_str().into(),
        model_version: model.version(),
        mean: service.mean() as f32,
        quantiles: QUANTILE_LEVELS.map(|level| service.quantile(f64::from(level)) as f32),
        end_within,
    }
}

#[cfg(test)]
mod tests {
    use eoscast_log::record::Arrival;

    use super::*;
    use crate::features::FeatureState;
    use crate::models::{History, ModelKind};

    fn prior_forecast(max_tokens: u32, step: u32, ignore_eos: bool) -> Forecast {
        let model = ModelKind::Prior.build(None, &History::default());
        let arrival = Arrival { prompt_length: 5, max_tokens, temperature: 1.0, ignore_eos, prompt: None };
        forecast(model.as_ref(), &FeatureState::new(arrival, step).row(), &mut model.memory())
    }

    #[test]
    fn service_length_is_cut_at_max_tokens_but_the_natural_end_is_not() {
        let forecast = prior_forecast(40, 30, false);
        assert_eq!(forecast.quantiles[12], 10.0);
        assert!(forecast.mean < 10.0);
        assert!(forecast.end_within[4] < 0.5);
    }

    #[test]
    fn a_reply_that_cannot_end_takes_all_its_tokens() {
        let forecast = prior_forecast(40, 30, true);
        assert_eq!((forecast.mean, forecast.quantiles[6]), (10.0, 10.0));
        assert_eq!(forecast.end_within, [0.0; 5]);
    }

    #[test]
    fn a_live_request_has_at_least_one_token_to_come() {
        assert_eq!(prior_forecast(40, 99, false).mean, 1.0);
    }
}
