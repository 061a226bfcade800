//! Drawing from `softmax(logits / temperature)` over a whole vocabulary, without sorting it.

use super::rows::padded;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Weights summed in `f32` before the sum moves on to `f64`.
const CHUNK_WEIGHTS: usize = 256;

/// The weights `e^((logit - max) / temperature)` of a row, with their sums by chunk.
pub struct Weights<'a> {
    weights: &'a [f32],
    chunk_sums: Vec<f64>,
    total: f64,
}

impl<'a> Weights<'a> {
    /// Overwrites a row of logits by its weights. `max` is its largest logit, finite; `temperature` is above 0.
    pub fn new(logits: &'a mut [f32], max: f32, temperature: f32) -> Self {
        dispatch(Exponentiate { row: logits, max, factor: temperature.recip() });
        let chunk_sums: Vec<f64> = logits.chunks(CHUNK_WEIGHTS).map(|chunk| dispatch(Sum(chunk))).collect();
        let total = chunk_sums.iter().sum();
        Self { weights: logits, chunk_sums, total }
    }

    /// The index at which the cumulated weight first exceeds `share` (in 0..1) of the total: inverse transform sampling.
    #[must_use]
    pub fn at_share(&self, share: f64) -> u32 {
        let target = share * self.total;
        let mut below = 0.0;
        let mut chosen = self.chunk_sums.len() - 1;
        for (chunk, sum) in self.chunk_sums.iter().enumerate() {
            if below + sum > target {
                chosen = chunk;
                break;
            }
            below += sum;
        }
        let start = chosen * CHUNK_WEIGHTS;
        let chunk = &self.weights[start..self.weights.len().min(start + CHUNK_WEIGHTS)];
        let mut last = 0;
        for (i, weight) in chunk.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            last = i;
            below += f64::from(*weight);
            if below > target {
                break;
            }
        }
        // Rounding can leave the sum of the chunk's weights a little below the target: then it is the last of them.
        (start + last) as u32
    }

    /// Probability of a set of indices.
    #[must_use]
    pub fn share_of(&self, indices: &[u32]) -> f64 {
        indices.iter().map(|i| f64::from(self.weights[*i as usize])).sum::<f64>() / self.total
    }
}

struct Exponentiate<'a> {
    row: &'a mut [f32],
    max: f32,
    factor: f32,
}

impl Kernel for Exponentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (parts, tail) = self.row.as_chunks_mut::<LANES>();
        for part in parts {
            exponentiate(s, part, self.max, self.factor);
        }
        let mut last = padded(tail);
        exponentiate(s, &mut last, self.max, self.factor);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

#[inline(always)]
fn exponentiate<S: Simd>(s: S, part: &mut [f32; LANES], max: f32, factor: f32) {
    let scaled = s.mul(s.sub(s.load(part), s.splat(max)), s.splat(factor));
    s.store(s.exp(scaled), part);
}

struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let (parts, tail) = self.0.as_chunks::<LANES>();
        let mut sum = s.load(&padded(tail));
        for part in parts {
            sum = s.add(sum, s.load(part));
        }
        f64::from(s.sum(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;
    use crate::testing::normals;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_draw_inverts_the_cumulated_distribution(
            len in 1usize..2000, spread in 0.01f32..20.0, temperature in 0.05f32..4.0, share in 0f64..1.0, seed in any::<u64>(),
        ) {
            let logits: Vec<f32> = normals(len, seed).into_iter().map(|x| spread * x).collect();
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exact: Vec<f64> = logits.iter().map(|&x| f64::from((x - max) / temperature).exp()).collect();
            let total: f64 = exact.iter().sum();
            let mut row = logits;
            let weights = Weights::new(&mut row, max, temperature);
            let drawn = weights.at_share(share) as usize;
            let below: f64 = exact[..drawn].iter().sum::<f64>() / total;
            prop_assert!(below <= share + 1e-5 && share <= below + exact[drawn] / total + 1e-5);
            let set = [0, (len / 2) as u32];
            let wanted = (exact[0] + exact[len / 2]) / total;
            prop_assert!((weights.share_of(&set) - wanted).abs() < 1e-5);
        }

        #[test]
        fn both_instruction_sets_give_the_same_weights(len in 1usize..600, seed in any::<u64>()) {
            let row = normals(len, seed);
            let (mut plain, mut fast) = (row.clone(), row);
            Exponentiate { row: &mut plain, max: 2.0, factor: 1.3 }.run(Plain);
            dispatch(Exponentiate { row: &mut fast, max: 2.0, factor: 1.3 });
            prop_assert_eq!(&plain, &fast);
            prop_assert_eq!(Sum(&plain).run(Plain), dispatch(Sum(&fast)));
        }
    }

    #[test]
    fn a_masked_index_is_never_drawn() {
        let mut row = vec![f32::NEG_INFINITY; 700];
        (row[300], row[650]) = (1.0, 1.0);
        let weights = Weights::new(&mut row, 1.0, 0.7);
        assert_eq!([0.0, 0.49, 0.51, 1.0 - 1e-17].map(|share| weights.at_share(share)), [300, 300, 650, 650]);
        assert_eq!(weights.share_of(&[1, 300]), 0.5);
    }
}
