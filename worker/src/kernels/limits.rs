//! What the processor can do at most, to compare with what the engine reaches.

use super::pool::Pool;
use super::simd::{Kernel, LANES, Simd, dispatch, dispatch_products};
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
const MEMORY: usize = 512 << 20;
const READS: usize = 4;
/// Passes of one call of [`Products`] over its activations.
const ROUNDS: usize = 10_000;
const SUMS: usize = 8;
const CALLS: Duration = Duration::from_millis(300);

impl Limits {
    /// Measures for about a second; other load on the machine lowers the result.
    #[must_use]
    pub fn measure(pool: &Pool) -> Self {
        let parts = 8 * pool.threads();
        let memory = vec![1.0_f32; MEMORY / size_of::<f32>()];
        let memory: Vec<_> = memory.chunks(memory.len() / parts).collect();
        let read = best(READS, || {
            pool.run(memory.len(), &|part| {
                black_box(dispatch(Sum(memory[part])));
            });
        });
        let activations = black_box([[1; 4]; 64]);
        let start = Instant::now();
        let mut fastest = f64::INFINITY;
        while start.elapsed() < CALLS {
            fastest = fastest.min(best(1, || {
                pool.run(pool.threads(), &|_| {
                    black_box(dispatch_products(Products(&activations)));
                })
            }));
        }
        // Each product of a sum is 32 bytes times 32 bytes.
        let operations = (2 * 32 * activations.len() * ROUNDS * pool.threads()) as f64;
        Self { memory_bytes_per_s: MEMORY as f64 / read, byte_operations_per_s: operations / fastest }
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
struct Products<'a>(&'a [[i8; 4]; 64]);

impl Kernel for Products<'_> {
    type Output = [f32; LANES];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        let [weights, _] = s.nibbles(&black_box([1; 32]));
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
            total = s.add(total, s.byte_sums(sum));
        }
        s.lanes(total)
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
        assert!(dispatch_products(Products(&[[1; 4]; 64])).iter().all(|sum| sum.is_finite()));
    }
}
