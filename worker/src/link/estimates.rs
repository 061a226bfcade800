//! The latest estimate of each live request, and what stands in where there is none.

use std::collections::HashMap;

use eoscast_proto::domain::{Forecast, LengthEstimate, LengthPrior, QUANTILE_LEVELS, RequestId};
use eoscast_sched::RemainingLength;

// A forecast travels as quantiles at the levels the scheduler computes with.
const _: () = {
    let mut i = 0;
    while i < QUANTILE_LEVELS.len() {
        assert!(QUANTILE_LEVELS[i] == eoscast_sched::LEVELS[i]);
        i += 1;
    }
};

/// What a forecast rests on, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForecastBasis {
    /// A fresh estimate of this request.
    Estimate,
    /// The predictor's prior, conditioned on the tokens generated.
    Prior,
    /// Nothing: `max_tokens` is assumed.
    WorstCase,
}

/// Estimates by request. Entries exist while their request lives.
#[derive(Debug, Default)]
pub struct EstimateTable {
    entries: HashMap<RequestId, RequestEstimates>,
    prior: Option<RemainingLength>,
}

#[derive(Debug, Default)]
struct RequestEstimates {
    first: Option<LengthEstimate>,
    latest: Option<LengthEstimate>,
}

impl EstimateTable {
    /// Makes room for a request's estimates.
    pub fn insert(&mut self, id: RequestId) {
        self.entries.insert(id, RequestEstimates::default());
    }

    /// Ends a request; gives back the estimate made on its arrival.
    pub fn remove(&mut self, id: &RequestId) -> Option<LengthEstimate> {
        self.entries.remove(id).and_then(|entry| entry.first)
    }

    /// Takes in an estimate; of a request that has ended it is of no use.
    pub fn update(&mut self, estimate: LengthEstimate) {
        let Some(entry) = self.entries.get_mut(&estimate.request_id) else { return };
        if estimate.step == 0 && entry.first.is_none() {
            entry.first = Some(estimate.clone());
        }
        if entry.latest.as_ref().is_none_or(|latest| latest.step <= estimate.step) {
            entry.latest = Some(estimate);
        }
    }

    /// Remembers the prior, which outlives the connection.
    pub fn set_prior(&mut self, prior: &LengthPrior) {
        self.prior = Some(RemainingLength { mean: prior.mean, quantiles: prior.quantiles });
    }

    /// The latest estimate of a live request.
    pub fn latest(&self, id: &RequestId) -> Option<&LengthEstimate> {
        self.entries.get(id)?.latest.as_ref()
    }

    /// The remaining length of a request that has generated `generated` tokens; `None` stands for the worst case.
    ///
    /// An estimate counts while it is at most `max_age` tokens old and is conditioned on the tokens since.
    pub fn forecast(&self, id: &RequestId, generated: u32, max_age: u32) -> Option<RemainingLength> {
        let fallback = || self.prior.map(|total| total.after(generated));
        self.fresh_forecast(id, generated, max_age).or_else(fallback)
    }

    /// The same, from an estimate of the request itself alone.
    pub fn fresh_forecast(&self, id: &RequestId, generated: u32, max_age: u32) -> Option<RemainingLength> {
        let (estimate, age) = self.fresh(id, generated, max_age)?;
        let Forecast { mean, quantiles, .. } = estimate.forecast.remaining;
        Some(RemainingLength { mean, quantiles }.after(age))
    }

    /// What [`forecast`](Self::forecast) rests on.
    pub fn basis(&self, id: &RequestId, generated: u32, max_age: u32) -> ForecastBasis {
        match (self.fresh(id, generated, max_age), self.prior) {
            (Some(_), _) => ForecastBasis::Estimate,
            (None, Some(_)) => ForecastBasis::Prior,
            (None, None) => ForecastBasis::WorstCase,
        }
    }

    /// The latest estimate and its age in tokens, unless it is stale.
    fn fresh(&self, id: &RequestId, generated: u32, max_age: u32) -> Option<(&LengthEstimate, u32)> {
        let estimate = self.latest(id)?;
        let age = generated.checked_sub(estimate.step).filter(|age| *age <= max_age)?;
        Some((estimate, age))
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::ModelForecast;

    use super::*;

    fn id() -> RequestId {
        "r".to_owned().try_into().unwrap()
    }

    fn estimate(step: u32, tokens: f32) -> LengthEstimate {
        LengthEstimate {
            request_id: id(),
            step,
            forecast: ModelForecast {
                source: "prior".into(),
                model_version: "1".into(),
                remaining: Forecast::point(tokens),
            },
        }
    }

    fn table() -> EstimateTable {
        let mut table = EstimateTable::default();
        table.insert(id());
        table
    }

    #[test]
    fn a_fresh_estimate_counts_down_with_the_tokens_since() {
        let mut table = table();
        table.update(estimate(10, 100.0));
        assert_eq!(table.basis(&id(), 15, 8), ForecastBasis::Estimate);
        assert!((table.forecast(&id(), 15, 8).unwrap().quantile(0.5) - 95.0).abs() < 0.5);
    }

    #[test]
    fn a_stale_estimate_gives_way_to_the_prior_and_without_one_to_the_worst_case() {
        let mut table = table();
        table.update(estimate(10, 100.0));
        assert_eq!(table.basis(&id(), 19, 8), ForecastBasis::WorstCase);
        assert_eq!(table.forecast(&id(), 19, 8), None);
        table.set_prior(&LengthPrior { quantiles: [50.0; 13], mean: 50.0, outcomes: 9 });
        assert_eq!(table.basis(&id(), 19, 8), ForecastBasis::Prior);
        assert!((table.forecast(&id(), 19, 8).unwrap().quantile(0.5) - 31.0).abs() < 0.5);
    }

    #[test]
    fn late_and_repeated_estimates_do_not_replace_newer_ones() {
        let mut table = table();
        for estimate in [estimate(0, 40.0), estimate(2, 30.0), estimate(1, 20.0), estimate(0, 10.0)] {
            table.update(estimate);
        }
        assert_eq!(table.latest(&id()).unwrap().step, 2);
        assert_eq!(table.remove(&id()).unwrap().forecast.remaining.mean, 40.0);
        table.update(estimate(3, 1.0));
        assert_eq!(table.latest(&id()), None);
    }
}
