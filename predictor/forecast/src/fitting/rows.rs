//! [`Rows`]: single steps of many requests, as feed-forward models are trained on them.

use super::sample::Sample;
use crate::features::{FEATURE_NAMES, FeatureRow, feature_index};
use crate::models::head::Target;

/// Most rows of one request.
const PER_REQUEST: u32 = 24;
/// A row before the first token counts as much as so many others: there are two of them and so much depends on them.
const BEFORE_FIRST: f32 = 8.0;
/// This share of the rows goes without sketches, so that models serve workers that tell none, too.
const BLIND: f32 = 0.1;

/// Rows with what is known of them now. The weights of a request's rows add up to one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rows {
    /// [`FeatureRow::INPUTS`] numbers per row.
    pub inputs: Vec<f32>,
    /// One per row.
    pub targets: Vec<Target>,
    /// One per row.
    pub weights: Vec<f32>,
}

impl Rows {
    /// Rows of `samples`: of each the arrival, the same once its prompt was read, and one step at random out of each of [`PER_REQUEST`] equal stretches of the
    /// reply, or all steps if it is no longer than that.
    pub(crate) fn sample(samples: &[&Sample], seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rows = Self::default();
        for sample in samples {
            let steps = picks(sample.length, &mut random);
            let first = rows.targets.len();
            for row in sample.prefilled().into_iter().chain(sample.rows()) {
                if steps.binary_search(&row.step).is_ok() {
                    let mut inputs = row.inputs();
                    if random.f32() < BLIND {
                        blind(&mut inputs);
                    }
                    rows.inputs.extend_from_slice(&inputs);
                    rows.targets.push(Target { remaining: sample.length - row.step, ended: sample.ended });
                }
            }
            let weight = |target: &Target| if target.remaining == sample.length { BEFORE_FIRST } else { 1.0 };
            let weights: Vec<f32> = rows.targets[first..].iter().map(weight).collect();
            let total: f32 = weights.iter().sum();
            rows.weights.extend(weights.into_iter().map(|weight| weight / total));
        }
        rows
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// The inputs of row `i`.
    pub(crate) fn input(&self, i: usize) -> &[f32] {
        &self.inputs[i * FeatureRow::INPUTS..][..FeatureRow::INPUTS]
    }

    /// The inputs of all rows with their weights.
    pub(crate) fn weighted(&self) -> impl Iterator<Item = (&[f32], f32)> + Clone {
        self.inputs.chunks_exact(FeatureRow::INPUTS).zip(self.weights.iter().copied())
    }
}

/// Takes the sketches away.
fn blind(inputs: &mut [f32]) {
    for name in ["sketch_known", "prompt_sketch_known"] {
        feature_index(name).into_iter().for_each(|i| inputs[i] = 0.0);
    }
    inputs[FEATURE_NAMES.len()..].fill(f32::NAN);
}

/// Ascending steps from 0 to `length - 1`.
fn picks(length: u32, random: &mut fastrand::Rng) -> Vec<u32> {
    let parts = PER_REQUEST.min(length);
    let border = |part: u32| (u64::from(length) * u64::from(part) / u64::from(parts)) as u32;
    let mut steps: Vec<u32> = (0..parts).map(|part| random.u32(border(part)..border(part + 1))).collect();
    steps.insert(0, 0);
    steps.dedup();
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fitting::synthetic::samples;

    proptest! {
        #[test]
        fn picked_steps_are_spread_over_the_whole_reply(length in 1u32..5_000, seed in any::<u64>()) {
            let steps = picks(length, &mut fastrand::Rng::with_seed(seed));
            prop_assert!(steps.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(steps[0], 0);
            prop_assert!(steps[steps.len() - 1] < length && steps.len() as u32 >= PER_REQUEST.min(length));
            let widest = steps.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            prop_assert!(widest <= 2 * length.div_ceil(PER_REQUEST));
        }
    }

    #[test]
    fn every_request_weighs_one() {
        let all = samples(20, 2);
        let sample = || Rows::sample(&all.iter().collect::<Vec<_>>(), 5);
        let rows = sample();
        assert!((rows.weights.iter().sum::<f32>() - 20.0).abs() < 1e-3);
        let bits = |rows: Rows| rows.inputs.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(rows.clone()) == bits(sample()), "equal seeds give equal rows");
        let step = crate::features::feature_index("step").unwrap();
        let first = (0..rows.len()).filter(|i| rows.input(*i)[step] == 0.0).count();
        let prefilled = all.iter().filter(|sample| sample.prefilled().is_some()).count();
        assert_eq!(first, 20 + prefilled);
    }
}
