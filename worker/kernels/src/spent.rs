//! Where the time of a forward pass on the CPU goes, and what it has to do at least.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Sums over all forward passes, on the CPU, of all models in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// On products with weight matrices, quantising their inputs included.
    pub matmul_seconds: f64,
    /// On attention over the KV cache.
    pub attention_seconds: f64,
    /// Weights, keys and values read, each once a pass.
    pub bytes: f64,
    /// Multiplications and additions of the matrix products.
    pub operations: f64,
}

static MATMUL_NANOSECONDS: AtomicU64 = AtomicU64::new(0);
static ATTENTION_NANOSECONDS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

impl Spent {
    /// Since the start of the process.
    #[must_use]
    pub fn so_far() -> Self {
        let sum = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        Self {
            matmul_seconds: sum(&MATMUL_NANOSECONDS) * 1e-9,
            attention_seconds: sum(&ATTENTION_NANOSECONDS) * 1e-9,
            bytes: sum(&BYTES),
            operations: sum(&OPERATIONS),
        }
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            matmul_seconds: self.matmul_seconds - before.matmul_seconds,
            attention_seconds: self.attention_seconds - before.attention_seconds,
            bytes: self.bytes - before.bytes,
            operations: self.operations - before.operations,
        }
    }
}

pub(crate) fn matmul<T>(bytes: usize, operations: usize, call: impl FnOnce() -> T) -> T {
    OPERATIONS.fetch_add(operations as u64, Ordering::Relaxed);
    timed(&MATMUL_NANOSECONDS, bytes, call)
}

pub(crate) fn attention<T>(bytes: usize, call: impl FnOnce() -> T) -> T {
    timed(&ATTENTION_NANOSECONDS, bytes, call)
}

fn timed<T>(nanoseconds: &AtomicU64, bytes: usize, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    nanoseconds.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_amounts_are_added_to_the_work_they_belong_to() {
        let before = Spent::so_far();
        let pause = || std::thread::sleep(std::time::Duration::from_millis(2));
        matmul(10, 20, pause);
        attention(5, pause);
        let spent = Spent::so_far().since(before);
        assert!(spent.matmul_seconds >= 2e-3 && spent.attention_seconds >= 2e-3);
        // Other tests of this process multiply too.
        assert!(spent.bytes >= 15.0 && spent.operations >= 20.0);
    }
}
