//! Estimates that a predictor made while the replies of a log were generated.

use eoscast_sched::RemainingLength;

/// Tokens after which an estimate is stale: the worker's default.
const MAX_AGE: u32 = 32;

/// What was forecast after `step` tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordedEstimate {
    /// Tokens generated.
    pub step: u32,
    /// Of the remaining service length.
    pub forecast: RemainingLength,
}

/// Estimates by the rows of a trace.
#[derive(Clone, Debug, Default)]
pub struct RecordedEstimates {
    /// Each row's, by step.
    rows: Vec<Vec<RecordedEstimate>>,
}

impl RecordedEstimates {
    /// Estimates of each row of the trace, in any order.
    pub fn new(mut rows: Vec<Vec<RecordedEstimate>>) -> Self {
        rows.iter_mut().for_each(|estimates| estimates.sort_by_key(|estimate| estimate.step));
        Self { rows }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// What a scheduler sees after `generated` tokens: the latest estimate, conditioned on the tokens since; none when
    /// it is stale.
    pub(super) fn forecast(&self, row: usize, generated: u32) -> Option<RemainingLength> {
        let estimates = self.rows.get(row)?;
        let latest = estimates.partition_point(|estimate| estimate.step <= generated).checked_sub(1)?;
        let RecordedEstimate { step, forecast } = estimates[latest];
        let age = generated - step;
        (age <= MAX_AGE).then(|| forecast.after(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_estimate_counts_down_until_it_is_stale() {
        let estimate = |step, tokens| RecordedEstimate { step, forecast: RemainingLength::certain(tokens) };
        let recorded = RecordedEstimates::new(vec![vec![], vec![estimate(8, 70), estimate(0, 50)]]);
        assert_eq!(recorded.count(), 2);
        let median = |row, generated| recorded.forecast(row, generated).map(|forecast| forecast.quantile(0.5).round());
        assert_eq!((median(1, 0), median(1, 5), median(1, 8)), (Some(50.0), Some(45.0), Some(70.0)));
        assert_eq!((median(1, 40), median(1, 41)), (Some(38.0), None));
        assert_eq!((median(0, 0), median(7, 0)), (None, None));
    }
}
