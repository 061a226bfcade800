//! What the processor can do at most, to compare with what the engine reaches.

use crate::pool::Pool;
use crate::simd::{Kernel, LANES, PanelKernel, Panels, Path, Simd, dispatch};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rates of all threads of the pool together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reading memory that no cache holds.
    pub memory_bytes_per_s: f64,
    /// Multiplying bytes and adding them up, with all operands in registers or the first cache; a multiplication and an addition
    /// are two.
    pub byte_operations_per_s: f64,
}

/// More than the caches of a processor hold.
const MEMORY_BYTES: usize = 512 << 20;
const READS: usize = 4;
/// Passes of one call of [`Products`] over its activations.
const ROUNDS: usize = 10_000;
/// Enough to hide the latency of a product, and not more than there are registers for.
const SUMS: usize = 12;
const CALLS: Duration = Duration::from_millis(300);

impl Limits {
    /// Measures for about a second; other load on the machine lowers the result.
    #[must_use]
    pub fn measure(pool: &Pool) -> Self {
        let parts = 8 * pool.threads();
        let memory = vec![1.0_f32; MEMORY_BYTES / size_of::<f32>()];
        let memory: Vec<_> = memory.chunks(memory.len() / parts).collect();
        let read = best(READS, || {
            pool.run(memory.len(), &|part| {
                black_box(dispatch(Sum(memory[part])));
            });
        });
        let activations = black_box([[1; 4]; 60]);
        let start = Instant::now();
        let mut fastest = f64::INFINITY;
        while start.elapsed() < CALLS {
            fastest = fastest.min(best(1, || {
                pool.run(pool.threads(), &|_| {
                    black_box(Path::Best.run(Products(&activations)));
                })
            }));
        }
        let lanes = Path::Best.run(Products(&activations)).len();
        // Each product of a sum is four bytes a lane.
        let operations = (2 * 4 * lanes * activations.len() * ROUNDS * pool.threads()) as f64;
        Self { memory_bytes_per_s: MEMORY_BYTES as f64 / read, byte_operations_per_s: operations / fastest }
    }
}

/// Seconds of the fastest call.
fn best(calls: usize, call: impl Fn()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    };
    (0..calls).map(time).fold(f64::INFINITY, f64::min)
}

struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 4];
        for vectors in self.0.as_chunks::<LANES>().0.as_chunks::<4>().0 {
            for n in 0..4 {
                sums[n] = s.add(sums[n], s.load(&vectors[n]));
            }
        }
        s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
    }
}

/// Activations differ from product to product, or the compiler would multiply once.
struct Products<'a>(&'a [[i8; 4]; 60]);

impl PanelKernel for Products<'_> {
    /// A sum for each lane.
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Panels<P>, const P: usize>(self, s: S) -> Vec<f32> {
        let ones = black_box([1; 32]);
        let [weights, _] = s.nibbles(|_| &ones);
        let mut sums = [s.no_byte_sums(); SUMS];
        for _ in 0..ROUNDS {
            for x in self.0.as_chunks::<SUMS>().0 {
                for n in 0..SUMS {
                    sums[n] = s.add_byte_products(sums[n], weights, &x[n]);
                }
            }
        }
        let mut total = s.splat(0.0);
        for sum in sums {
            total = s.fma(s.byte_sums(sum), s.splat(1.0), total);
        }
        (0..P).flat_map(|panel| s.panel(total, panel)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_reads_everything_and_products_are_all_made() {
        let numbers: Vec<f32> = (0..64).map(|x| x as f32).collect();
        assert_eq!(dispatch(Sum(&numbers)), 63.0 * 32.0);
        // Sums of 16 bits wrap on vector hardware, so only that there is a number for each lane can be told.
        assert!(Path::Best.run(Products(&[[1; 4]; 60])).iter().all(|sum| sum.is_finite()));
    }
}
