//! [`forecast`]: what a model says of one request.

use std::sync::Arc;

use eoscast_proto::domain::{END_WITHIN, Forecast, ModelForecast, QUANTILE_LEVELS};

use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::models::{Asked, LengthModel, Memory};

/// What `model` says after `row`, given what it kept of the rows before. Service length is natural length cut at `max_tokens`; a
/// reply that cannot end by itself (`ignore_eos`) takes all that `max_tokens` leaves.
pub fn forecast(model: &dyn LengthModel, row: &FeatureRow, memory: &mut Memory) -> ModelForecast {
    let natural = (!row.arrival.ignore_eos).then(|| model.predict(row, memory));
    read_out(&ModelId::of(model), row, natural)
}

/// The same for several requests at once, with the same bits.
pub fn forecast_all(model: &dyn LengthModel, asked: &mut [Asked<'_>]) -> Vec<ModelForecast> {
    let mut can_end: Vec<&mut Asked<'_>> = asked.iter_mut().filter(|asked| !asked.row.arrival.ignore_eos).collect();
    let mut natural = model.predict_all(&mut can_end).into_iter();
    let source = ModelId::of(model);
    let answer = |asked: &Asked<'_>| {
        let natural = if asked.row.arrival.ignore_eos { None } else { natural.next() };
        read_out(&source, asked.row, natural)
    };
    asked.iter().map(answer).collect()
}

struct ModelId {
    kind: Arc<str>,
    version: Arc<str>,
}

impl ModelId {
    fn of(model: &dyn LengthModel) -> Self {
        Self { kind: model.name().into(), version: model.version() }
    }
}

/// The numbers of an estimate; without a natural length, of a reply that cannot end by itself.
fn read_out(source: &ModelId, row: &FeatureRow, natural: Option<LengthDistribution>) -> ModelForecast {
    let (service, end_within) = match natural {
        None => (LengthDistribution::point(row.left()), [0.0; END_WITHIN.len()]),
        Some(natural) => {
            let end_within = END_WITHIN.map(|tokens| natural.p_end_within(tokens) as f32);
            (natural.clip(row.left()), end_within)
        }
    };
    ModelForecast {
        source: source.kind.clone(),
        model_version: source.version.clone(),
        remaining: Forecast {
            mean: service.mean() as f32,
            quantiles: service.quantiles(QUANTILE_LEVELS.map(f64::from)).map(|tokens| tokens as f32),
            end_within,
        },
    }
}

#[cfg(test)]
mod tests {
    use eoscast_log::record::Arrival;

    use super::*;
    use crate::features::FeatureState;
    use crate::history::History;
    use crate::models::ModelKind;

    fn prior_forecast(max_tokens: u32, step: u32, ignore_eos: bool) -> ModelForecast {
        let model = ModelKind::Prior.build(None, &History::default());
        let arrival = Arrival { max_tokens: Some(max_tokens), ignore_eos, ..Arrival::for_test() };
        forecast(model.as_ref(), &FeatureState::new(arrival, step).row(), &mut model.memory())
    }

    #[test]
    fn service_length_is_cut_at_max_tokens_but_the_natural_end_is_not() {
        let forecast = prior_forecast(40, 30, false).remaining;
        assert_eq!(forecast.quantiles[12], 10.0);
        assert!(forecast.mean < 10.0);
        assert!(forecast.end_within[4] < 0.5);
    }

    #[test]
    fn a_reply_that_cannot_end_takes_all_its_tokens() {
        let forecast = prior_forecast(40, 30, true).remaining;
        assert_eq!((forecast.mean, forecast.quantiles[6]), (10.0, 10.0));
        assert_eq!(forecast.end_within, [0.0; 5]);
    }

    #[test]
    fn a_live_request_has_at_least_one_token_to_come() {
        assert_eq!(prior_forecast(40, 99, false).remaining.mean, 1.0);
    }
}
