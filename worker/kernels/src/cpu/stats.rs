//! What the sampler and the EOS signal read off one row of logits.

use super::rows::padded;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Facts about the distribution `softmax(logits)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitStats {
    /// `ln Σ e^logit`: log-probability of a token = its logit minus this.
    pub log_sum_exp: f32,
    /// Shannon entropy in nats.
    pub entropy: f32,
    /// Largest logit.
    pub max_logit: f32,
    /// Index of the largest logit, the first of equals.
    pub argmax: u32,
}

/// Statistics of a row. Minus infinity counts as probability zero. Where a logit is NaN, or none is finite, `log_sum_exp` and
/// `entropy` are NaN.
#[must_use]
pub fn row_stats(logits: &[f32]) -> LogitStats {
    let max_logit = dispatch(Largest(logits));
    let argmax = logits.iter().position(|&x| x == max_logit).unwrap_or(0) as u32;
    let (mass, weighted) = dispatch(Mass { logits, max_logit });
    // With p = e^(x - max) / mass: H = -Σ p ln p = ln mass - Σ (x - max) p.
    let log_sum_exp = (f64::from(max_logit) + mass.ln()) as f32;
    LogitStats { log_sum_exp, entropy: (mass.ln() - weighted / mass) as f32, max_logit, argmax }
}

/// `ln Σ e^logit` over the tokens `ids`: minus the [`log_sum_exp`](LogitStats::log_sum_exp) of the row, the log-probability that
/// the next token is one of them. Minus infinity where none of them has any probability.
///
/// # Panics
/// Where an id is not less than the number of logits.
#[must_use]
pub fn log_sum_exp_of(logits: &[f32], ids: &[u32]) -> f32 {
    let chosen: Vec<f32> = ids.iter().map(|id| logits[*id as usize]).collect();
    let max_logit = dispatch(Largest(&chosen));
    if max_logit == f32::NEG_INFINITY {
        return max_logit;
    }
    let (mass, _) = dispatch(Mass { logits: &chosen, max_logit });
    (f64::from(max_logit) + mass.ln()) as f32
}

/// Rank of a logit in its row: how many logits are larger; 0 is the top.
#[must_use]
pub fn rank_of(logits: &[f32], value: f32) -> u32 {
    dispatch(CountLarger { logits, value })
}

struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (parts, tail) = self.0.as_chunks::<LANES>();
        let mut largest = [s.splat(f32::NEG_INFINITY); 4];
        for four in parts.chunks(4) {
            for (largest, part) in largest.iter_mut().zip(four) {
                *largest = s.max(s.load(part), *largest);
            }
        }
        let [a, b, c, d] = largest;
        let largest = s.largest(s.max(s.max(a, b), s.max(c, d)));
        tail.iter().fold(largest, |largest, &x| if x > largest { x } else { largest })
    }
}

/// Vectors summed in `f32` before the sum moves on to `f64`.
const RUN_VECTORS: usize = 64;

struct Mass<'a> {
    logits: &'a [f32],
    max_logit: f32,
}

impl Kernel for Mass<'_> {
    /// With `d = x - max`: `Σ e^d` and `Σ d e^d`.
    type Output = (f64, f64);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f64, f64) {
        let (parts, tail) = self.logits.as_chunks::<LANES>();
        let mut last = padded(tail);
        last[tail.len()..].fill(f32::NEG_INFINITY);
        let (mut mass, mut weighted) = (0.0, 0.0);
        for run in parts.chunks(RUN_VECTORS).chain([&[last][..]]) {
            let (run_mass, run_weighted) = sum_run(s, run, self.max_logit);
            mass += f64::from(run_mass);
            weighted += f64::from(run_weighted);
        }
        (mass, weighted)
    }
}

#[inline(always)]
fn sum_run<S: Simd>(s: S, run: &[[f32; LANES]], max_logit: f32) -> (f32, f32) {
    // e^-88 is zero in `exp`, and unlike minus infinity it gives no NaN when multiplied by zero.
    let (max, lowest) = (s.splat(max_logit), s.splat(-88.0));
    let (mut mass, mut weighted) = (s.splat(0.0), s.splat(0.0));
    for part in run {
        let d = s.max(lowest, s.sub(s.load(part), max));
        let e = s.exp(d);
        mass = s.add(mass, e);
        weighted = s.fma(d, e, weighted);
    }
    (s.sum(mass), s.sum(weighted))
}

struct CountLarger<'a> {
    logits: &'a [f32],
    value: f32,
}

impl Kernel for CountLarger<'_> {
    type Output = u32;

    /// A plain loop, which the compiler vectorises for the instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u32 {
        self.logits.iter().map(|&x| u32::from(x > self.value)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;
    use crate::testing::normals;
    use proptest::prelude::*;

    fn wanted(logits: &[f32]) -> (f64, f64) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mass: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
        let p = logits.iter().map(|&x| f64::from(x - max).exp() / mass);
        (f64::from(max) + mass.ln(), -p.filter(|&p| p > 0.0).map(|p| p * p.ln()).sum::<f64>())
    }

    proptest! {
        #[test]
        fn statistics_match_the_definitions(len in 1usize..3000, spread in 0.01f32..30.0, seed in any::<u64>()) {
            let logits: Vec<f32> = normals(len, seed).into_iter().map(|x| spread * x).collect();
            let stats = row_stats(&logits);
            let (log_sum_exp, entropy) = wanted(&logits);
            prop_assert!((f64::from(stats.log_sum_exp) - log_sum_exp).abs() < 5e-6 * (1.0 + log_sum_exp.abs()));
            prop_assert!((f64::from(stats.entropy) - entropy).abs() < 2e-5, "{} {}", stats.entropy, entropy);
            prop_assert!(logits.iter().all(|&x| x <= stats.max_logit));
            prop_assert_eq!(logits[stats.argmax as usize], stats.max_logit);
            let max_logit = stats.max_logit;
            prop_assert_eq!(Largest(&logits).run(Plain), max_logit);
            prop_assert_eq!(
                dispatch(Mass { logits: &logits, max_logit }), Mass { logits: &logits, max_logit }.run(Plain)
            );
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let rank = len / 3;
            prop_assert_eq!(rank_of(&logits, sorted[rank]), sorted.iter().position(|&x| x == sorted[rank]).unwrap() as u32);
        }
    }

    #[test]
    fn excluded_tokens_have_no_probability_and_ties_go_to_the_first() {
        let mut logits = vec![f32::NEG_INFINITY; 21];
        (logits[3], logits[20]) = (2.0, 2.0);
        let stats = row_stats(&logits);
        assert_eq!((stats.argmax, stats.max_logit), (3, 2.0));
        assert!((stats.entropy - 2f32.ln()).abs() < 1e-6);
        assert!((stats.log_sum_exp - 2.0 - 2f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_mass_of_some_tokens_is_their_sum_however_small_it_is() {
        let logits = normals(500, 3);
        let ids: Vec<u32> = (0..500).filter(|id| id % 7 == 0).collect();
        let sum: f64 = ids.iter().map(|id| f64::from(logits[*id as usize]).exp()).sum();
        assert!((f64::from(log_sum_exp_of(&logits, &ids)) - sum.ln()).abs() < 1e-5);
        let far_below: Vec<f32> = logits.iter().map(|logit| logit - 300.0).collect();
        assert!((f64::from(log_sum_exp_of(&far_below, &ids)) - sum.ln() + 300.0).abs() < 1e-4);
        assert_eq!(log_sum_exp_of(&[f32::NEG_INFINITY; 3], &[0, 2]), f32::NEG_INFINITY);
    }

    #[test]
    fn a_nan_logit_shows_in_the_log_sum() {
        let mut logits = vec![0.0; 100];
        logits[77] = f32::NAN;
        assert!(row_stats(&logits).log_sum_exp.is_nan());
        assert!(row_stats(&[f32::NEG_INFINITY; 9]).log_sum_exp.is_nan());
    }
}
