//! The future peak of KV use, with a quantile of the forecast for each remaining length, stays within the budget.

use super::future::FuturePeak;
use super::rule::{AdmissionControl, AdmissionRule};
use crate::config::SchedulerConfig;
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

/// Default quantile: of 0.6 to 0.85 the one with the least time a token and the shortest tail on recorded forecasts of the real
/// predictor, as many steps as with true lengths, and fewer evictions than `past-future` (docs/evidence/scheduling.md).
pub(super) const LEVEL: f64 = 0.8;

const QUANTILES: Bounds =
    Bounds { expected: "a level from 0.01 to 0.99", holds: |level| (0.01..=0.99).contains(&level) };

const ARGUMENT: Argument = Argument::Optional { placeholder: "LEVEL", default: LEVEL, bounds: QUANTILES };

pub(super) static RULE: AdmissionRule = AdmissionRule::on_forecast("peak", ARGUMENT, |level, config| {
    // To the precision of a level.
    Box::new(QuantilePeak::new(level as f32, config))
});

#[derive(Debug)]
pub(super) struct QuantilePeak {
    level: f32,
    num_blocks: u32,
    future: FuturePeak,
}

impl QuantilePeak {
    pub(super) fn new(level: f32, config: SchedulerConfig) -> Self {
        Self { level, num_blocks: config.num_blocks, future: FuturePeak::new(config) }
    }
}

impl AdmissionControl for QuantilePeak {
    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        let level = self.level;
        self.future.reset(running, tables, |outlook| outlook.remaining_at(level));
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        let peak = self.future.peak_with(candidate, candidate.remaining_at(self.level));
        peak <= u64::from(self.num_blocks)
    }

    fn add(&mut self, admitted: &Outlook) {
        self.future.add(admitted, admitted.remaining_at(self.level));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::{LEVELS, RemainingLength};
    use crate::view::tests::view;

    fn fits(level: f32, num_blocks: u32, forecast: RemainingLength) -> bool {
        let config = SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 };
        let mut peak = QuantilePeak::new(level, config);
        peak.reset(&[], &[]);
        peak.fits(&Outlook::new(view(2), Some(forecast)))
    }

    #[test]
    fn a_peak_that_just_fits_is_admitted() {
        assert!(fits(0.5, 29, RemainingLength::certain(20)));
        assert!(!fits(0.5, 28, RemainingLength::certain(20)));
    }

    #[test]
    fn a_higher_level_reserves_more() {
        let uniform = RemainingLength { mean: 50.0, quantiles: LEVELS.map(|level| 100.0 * level) };
        assert!(fits(0.5, 80, uniform));
        assert!(!fits(0.9, 80, uniform));
    }
}
