//! [`LengthDistribution`]: how many tokens may still come, as a survival function on log-spaced bins.

use std::sync::{Arc, LazyLock};

/// Longest length told apart, in tokens; anything above counts as this long.
pub const LONGEST: u32 = 1 << 20;

/// Every integer below this is an edge of its own.
const EXACT: u32 = 16;
/// Edges in each doubling from [`EXACT`] on.
const PER_OCTAVE: usize = 8;
const OCTAVES: usize = 16;
/// Number of bin edges: 0, 1 .. 16, 18, 20 .. 32, 36 .. [`LONGEST`].
pub const EDGES: usize = EXACT as usize + OCTAVES * PER_OCTAVE + 1;

/// Positions of the edges, in tokens.
const TOKENS: [u32; EDGES] = {
    let mut edges = [0; EDGES];
    let mut i = 0;
    while i < EDGES {
        edges[i] = if i < EXACT as usize {
            i as u32
        } else {
            let beyond = i - EXACT as usize;
            let octave = EXACT.ilog2() + (beyond / PER_OCTAVE) as u32;
            (1 << octave) + (((beyond % PER_OCTAVE) as u32) << (octave - PER_OCTAVE.ilog2()))
        };
        i += 1;
    }
    edges
};

fn edge(index: usize) -> u32 {
    TOKENS[index]
}

/// Index of the last edge at or below `tokens`, which is below [`LONGEST`].
fn bin(tokens: u32) -> usize {
    if tokens < EXACT {
        return tokens as usize;
    }
    let octave = tokens.ilog2();
    let within = (tokens - (1 << octave)) >> (octave - PER_OCTAVE.ilog2());
    EXACT as usize + (octave - EXACT.ilog2()) as usize * PER_OCTAVE + within as usize
}

/// A distribution over a length of 1 to [`LONGEST`] tokens. Cheap to clone, condition and clip.
///
/// The length is taken as a real number whose round-up is the number of tokens, so that P(length > k) is exact at whole k.
#[derive(Debug, Clone)]
pub struct LengthDistribution {
    /// S(x) = P(length > x) at the edges, linear between them, up to the first edge at or above `elapsed + longest`.
    curve: Arc<[f64]>,
    /// Tokens already known to be exceeded, in the curve's own count.
    elapsed: u32,
    /// S(elapsed), above 0.
    at_elapsed: f64,
    /// Largest length left, at least 1.
    longest: u32,
}

static CERTAIN: LazyLock<Arc<[f64]>> = LazyLock::new(|| [1.0; EDGES].into());

impl LengthDistribution {
    /// From P(length > tokens), asked at ascending edges from 1 on. Values are brought into 0..=1 and never increase.
    pub fn from_survival(survival: impl FnMut(u32) -> f64) -> Self {
        Self::from_survival_below(LONGEST, survival)
    }

    /// The same, [clipped](Self::clip) at `longest` tokens, and asked no further.
    pub fn from_survival_below(longest: u32, mut survival: impl FnMut(u32) -> f64) -> Self {
        let longest = longest.clamp(1, LONGEST);
        let last = TOKENS.partition_point(|edge| *edge < longest);
        let mut least = 1.0;
        let falling = |edge: &u32| {
            if *edge > 0 {
                // The comparisons also sort out NaN.
                let value = survival(*edge).max(0.0);
                least = if value < least { value } else { least };
            }
            least
        };
        Self { curve: TOKENS[..=last].iter().map(falling).collect(), elapsed: 0, at_elapsed: 1.0, longest }
    }

    /// All mass on `tokens`, brought into 1..=[`LONGEST`].
    pub fn point(tokens: u32) -> Self {
        Self { curve: CERTAIN.clone(), elapsed: 0, at_elapsed: 1.0, longest: tokens.clamp(1, LONGEST) }
    }

    /// P(length > tokens).
    pub fn survival(&self, tokens: f64) -> f64 {
        if tokens <= 0.0 {
            1.0
        } else if tokens >= f64::from(self.longest) {
            0.0
        } else {
            self.at(f64::from(self.elapsed) + tokens) / self.at_elapsed
        }
    }

    /// S at `tokens` in the curve's own count, below its last edge.
    fn at(&self, tokens: f64) -> f64 {
        // The last edge is the end of the last bin.
        let i = bin(tokens as u32).min(self.curve.len() - 2);
        let (left, right) = (f64::from(edge(i)), f64::from(edge(i + 1)));
        self.curve[i] + (self.curve[i + 1] - self.curve[i]) * ((tokens - left) / (right - left))
    }

    /// P(length <= tokens).
    pub fn p_end_within(&self, tokens: u32) -> f64 {
        1.0 - self.survival(f64::from(tokens))
    }

    /// The length not exceeded with probability `level` in 0..=1, in tokens: the inverse of 1 - survival.
    pub fn quantile(&self, level: f64) -> f64 {
        self.quantiles([level])[0]
    }

    /// The quantiles at ascending `levels`.
    pub fn quantiles<const N: usize>(&self, levels: [f64; N]) -> [f64; N] {
        let first = bin(self.elapsed) + 1;
        let mut i = first;
        let mut quantiles = [0.0; N];
        for (quantile, level) in quantiles.iter_mut().zip(levels) {
            let target = self.at_elapsed * (1.0 - level.clamp(0.0, 1.0));
            i += self.curve[i..].iter().take_while(|s| **s > target).count();
            *quantile = self.in_bin(i, first, target);
        }
        quantiles
    }

    /// The length at which survival falls to `target`, in the bin that ends at edge `i`.
    fn in_bin(&self, i: usize, first: usize, target: f64) -> f64 {
        if i == self.curve.len() {
            return f64::from(self.longest);
        }
        let start = f64::from(self.elapsed);
        let (left, at_left) =
            if i == first { (start, self.at_elapsed) } else { (f64::from(edge(i - 1)), self.curve[i - 1]) };
        let (right, at_right) = (f64::from(edge(i)), self.curve[i]);
        let share = if at_left > target { (at_left - target) / (at_left - at_right) } else { 0.0 };
        (left + share * (right - left) - start).min(f64::from(self.longest))
    }

    /// Expected tokens: the sum of P(length > k) over whole k.
    pub fn mean(&self) -> f64 {
        let end = self.elapsed + self.longest;
        let (mut left, mut at_left, mut area) = (self.elapsed, self.at_elapsed, 0.0);
        for (edge, at_edge) in TOKENS.iter().zip(self.curve.iter()).skip(bin(self.elapsed) + 1) {
            let right = end.min(*edge);
            let at_right = if right == *edge {
                *at_edge
            } else {
                at_left + (at_edge - at_left) * (f64::from(right - left) / f64::from(edge - left))
            };
            area += f64::from(right - left) * (at_left + at_right) / 2.0;
            (left, at_left) = (right, at_right);
            if right == end {
                break;
            }
        }
        // Of a straight line the sum over whole k is the area below it and half its fall.
        (area + (self.at_elapsed - at_left) / 2.0) / self.at_elapsed
    }

    /// What is left of the length once it is known to exceed `tokens`.
    ///
    /// Where that had no probability, one more token is left: a live request always has its last token to come.
    #[must_use]
    pub fn condition(&self, tokens: u32) -> Self {
        let elapsed = self.elapsed.saturating_add(tokens);
        if tokens >= self.longest || elapsed >= LONGEST {
            return Self::point(1);
        }
        let at_elapsed = self.at(f64::from(elapsed));
        if at_elapsed < f64::MIN_POSITIVE {
            return Self::point(1);
        }
        let longest = (self.longest - tokens).min(LONGEST - elapsed);
        Self { curve: self.curve.clone(), elapsed, at_elapsed, longest }
    }

    /// The same length cut at `tokens`, which counts as at least 1.
    #[must_use]
    pub fn clip(&self, tokens: u32) -> Self {
        Self { longest: self.longest.min(tokens.max(1)), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A survival function with random steps down.
    fn any_distribution() -> impl Strategy<Value = LengthDistribution> {
        proptest::collection::vec(0.5f64..1.0, EDGES).prop_map(|factors| {
            let mut factors = factors.into_iter();
            let mut left = 1.0;
            LengthDistribution::from_survival(|_| {
                left *= factors.next().unwrap_or(1.0);
                left
            })
        })
    }

    #[test]
    fn edges_ascend_and_bins_find_them() {
        assert_eq!((edge(0), edge(16), edge(17), edge(24), edge(25)), (0, 16, 18, 32, 36));
        assert_eq!(edge(EDGES - 1), LONGEST);
        for i in 0..EDGES - 1 {
            assert!(edge(i) < edge(i + 1));
            assert_eq!((bin(edge(i)), bin(edge(i + 1) - 1)), (i, i));
        }
    }

    #[test]
    fn a_point_is_its_own_mean_and_end() {
        for tokens in [1, 7, 1000, LONGEST] {
            let point = LengthDistribution::point(tokens);
            assert_eq!(point.mean(), f64::from(tokens));
            assert_eq!(point.p_end_within(tokens), 1.0);
            assert_eq!(point.p_end_within(tokens - 1), 0.0);
        }
    }

    #[test]
    fn survival_is_known_up_to_the_very_end_of_the_last_bin() {
        for (longest, age) in [(64, 0), (64, 63), (65, 20), (LONGEST, 0), (LONGEST, 1_000_000)] {
            let d = LengthDistribution::from_survival_below(longest, |tokens| 0.999f64.powi(tokens.min(9_000) as i32));
            let d = d.condition(age);
            let left = f64::from(longest - age);
            assert!((0.0..=1.0).contains(&d.survival(left.next_down())), "{longest} after {age}");
            assert!((0.0..=left).contains(&d.mean()) && d.quantile(1.0) == left, "{longest} after {age}");
        }
    }

    #[test]
    fn hostile_survival_values_still_make_a_distribution() {
        let values = [f64::NAN, 2.0, -1.0, f64::INFINITY, 0.3];
        let mut i = 0;
        let distribution = LengthDistribution::from_survival(|_| {
            i += 1;
            values[i % values.len()]
        });
        assert!(distribution.mean().is_finite());
        assert!((0.0..=1.0).contains(&distribution.p_end_within(64)));
    }

    #[test]
    fn outliving_every_known_length_leaves_one_more_token() {
        assert_eq!(LengthDistribution::point(10).condition(10).mean(), 1.0);
        assert_eq!(LengthDistribution::from_survival(|_| 1.0).condition(u32::MAX).mean(), 1.0);
    }

    proptest! {
        #[test]
        fn quantile_inverts_survival(d in any_distribution(), q in 0.0f64..1.0, age in 0u32..200, cap in 1u32..100_000) {
            let d = d.condition(age).clip(cap);
            let x = d.quantile(q);
            prop_assert!((0.0..=f64::from(cap)).contains(&x));
            if x < f64::from(cap) && age < 50 {
                prop_assert!((d.survival(x) - (1.0 - q)).abs() < 1e-9, "S({x}) = {}", d.survival(x));
            }
        }

        #[test]
        fn survival_and_quantiles_never_turn_back(d in any_distribution(), age in 0u32..5000, a in 0.0f64..1e6, b in 0.0f64..1e6) {
            let d = d.condition(age);
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(d.survival(a) >= d.survival(b));
            prop_assert_eq!(d.survival(0.0), 1.0);
            prop_assert!(d.quantile(a / 1e6) <= d.quantile(b / 1e6));
        }

        #[test]
        fn the_mean_is_the_sum_of_survival_over_whole_tokens(d in any_distribution(), age in 0u32..100, cap in 1u32..5000) {
            let d = d.condition(age).clip(cap);
            let sum: f64 = (0..cap).map(|k| d.survival(f64::from(k))).sum();
            prop_assert!((d.mean() - sum).abs() < 1e-6 * sum, "{} against {sum}", d.mean());
        }

        #[test]
        fn conditioning_twice_is_conditioning_once(d in any_distribution(), a in 0u32..60, b in 0u32..60, k in 1u32..500) {
            let twice = d.condition(a).condition(b);
            let once = d.condition(a + b);
            prop_assert_eq!(twice.mean().to_bits(), once.mean().to_bits());
            prop_assert_eq!(twice.p_end_within(k).to_bits(), once.p_end_within(k).to_bits());
        }

        #[test]
        fn asking_no_further_than_the_clip_changes_nothing(
            factors in proptest::collection::vec(0.5f64..1.0, EDGES), longest in 1u32..=3000, age in 0u32..50, k in 1u32..4000,
        ) {
            let survival = || {
                let (mut factors, mut left) = (factors.iter(), 1.0);
                move |_| {
                    left *= factors.next().unwrap_or(&1.0);
                    left
                }
            };
            let (all, below) = (
                LengthDistribution::from_survival(survival()).clip(longest).condition(age),
                LengthDistribution::from_survival_below(longest, survival()).condition(age),
            );
            prop_assert_eq!(all.p_end_within(k).to_bits(), below.p_end_within(k).to_bits());
            let levels = [0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 1.0];
            prop_assert_eq!(all.quantiles(levels), below.quantiles(levels));
            prop_assert!((all.mean() - below.mean()).abs() < 1e-9 * all.mean());
        }

        #[test]
        fn clipping_changes_nothing_below_the_cap(d in any_distribution(), cap in 1u32..1000, k in 1u32..2000) {
            let clipped = d.clip(cap);
            prop_assert_eq!(clipped.p_end_within(k), if k < cap { d.p_end_within(k) } else { 1.0 });
            prop_assert!(clipped.mean() <= f64::from(cap));
        }

        #[test]
        fn the_mean_is_that_of_samples(lengths in proptest::collection::vec(1u32..16, 1..50)) {
            let share_above = |k| lengths.iter().filter(|l| **l > k).count() as f64 / lengths.len() as f64;
            let d = LengthDistribution::from_survival(share_above);
            let mean = lengths.iter().sum::<u32>() as f64 / lengths.len() as f64;
            prop_assert!((d.mean() - mean).abs() < 1e-9);
        }
    }
}
