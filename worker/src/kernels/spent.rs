//! Where the time of a forward pass on the CPU goes: the wall time of the operations that take most of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An operation whose time is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Products with weight matrices, quantising their inputs included.
    Matmul,
    /// Attention over the KV cache.
    Attention,
}

static NANOSECONDS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Seconds spent on `work` since the start of the process, by all models in it that run on the CPU.
#[must_use]
pub fn seconds_spent(work: Work) -> f64 {
    NANOSECONDS[work as usize].load(Ordering::Relaxed) as f64 * 1e-9
}

pub(crate) fn timed<T>(work: Work, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    NANOSECONDS[work as usize].fetch_add(elapsed, Ordering::Relaxed);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_added_to_the_work_that_took_it() {
        let before = seconds_spent(Work::Attention);
        timed(Work::Attention, || std::thread::sleep(std::time::Duration::from_millis(2)));
        assert!(seconds_spent(Work::Attention) - before >= 2e-3);
    }
}
