//! Where the time of the engine thread goes, and how far it is from what the processor could do, for `bench`.

use std::collections::BTreeMap;

use crate::metrics::{Metrics, Phase};
use eoscast_kernels::{Limits, Spent};

/// Parts of a step, in the order in which they are shown. `other` is the rest of the forward pass: norms, rotations, activations,
/// and moving tensors.
pub(super) const PARTS: [&str; 6] = ["scheduling", "matmul", "attention", "other", "sampling", "events"];

/// Sums since the start of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepTime {
    /// Seconds of each phase.
    phases: [f64; Phase::ALL.len()],
    spent: Spent,
}

impl StepTime {
    pub(super) fn so_far(metrics: &Metrics) -> Self {
        Self { phases: Phase::ALL.map(|phase| metrics.phase_seconds(phase)), spent: Spent::so_far() }
    }

    pub(super) fn since(self, before: Self) -> Self {
        let phases = std::array::from_fn(|phase| self.phases[phase] - before.phases[phase]);
        Self { phases, spent: self.spent.since(before.spent) }
    }

    fn total(self) -> f64 {
        self.phases.iter().sum()
    }

    /// Share of each of [`PARTS`].
    pub(super) fn shares(self) -> BTreeMap<&'static str, f64> {
        let [scheduling, forward, sampling, events] = self.phases;
        let Spent { matmul_seconds: matmul, attention_seconds: attention, .. } = self.spent;
        let seconds = [scheduling, matmul, attention, forward - matmul - attention, sampling, events];
        PARTS.into_iter().zip(seconds.map(|seconds| seconds / self.total())).collect()
    }

    /// Share that reading weights and cache once a pass, or multiplying in bytes, would take at the processor's limits: whichever
    /// is more. What is left is the distance from the physical limit.
    pub(super) fn share_of_limit(self, limits: Limits) -> f64 {
        let reading = self.spent.bytes / limits.memory_bytes_per_s;
        let multiplying = self.spent.operations / limits.byte_operations_per_s;
        reading.max(multiplying) / self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_the_dearer_of_reading_and_multiplying_is_the_limit() {
        let spent = Spent { matmul_seconds: 6.0, attention_seconds: 1.0, bytes: 10.0, operations: 300.0 };
        let time = StepTime { phases: [0.5, 8.0, 1.0, 0.5], spent };
        let shares = time.shares();
        assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(shares["other"], 0.1);
        let limits = |memory, operations| Limits { memory_bytes_per_s: memory, byte_operations_per_s: operations };
        assert_eq!(time.share_of_limit(limits(2.0, 100.0)), 0.5);
        assert_eq!(time.share_of_limit(limits(10.0, 100.0)), 0.3);
    }
}
