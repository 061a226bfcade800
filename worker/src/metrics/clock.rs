//! Where the time of a step goes.

use std::time::Instant;

use super::{Metrics, Phase};

/// Measures the phases of a step, one after the other.
pub(crate) struct PhaseClock(Instant);

impl PhaseClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Counts the time since the last call for `phase`.
    pub(crate) fn end(&mut self, phase: Phase, metrics: &Metrics) {
        let now = Instant::now();
        metrics.on_phase(phase, now - self.0);
        self.0 = now;
    }
}
