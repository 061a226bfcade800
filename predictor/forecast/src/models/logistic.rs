//! `logistic`: one logistic regression for each of some horizons, on the present row.

use anyhow::ensure;

use super::dense::{Dense, Standardiser};
use super::head::{BIN_EDGES, BINS};
use super::weights::Weights;
use super::{Forecaster, Memory};
use crate::features::FeatureRow;

/// Horizons in tokens: each has a regression for "more than this are to come".
pub const HORIZONS: [u32; 8] = [1, 4, 16, 32, 64, 128, 256, 512];

/// Regressions of P(length > horizon).
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// What they see.
    pub inputs: Standardiser,
    /// The log-odds, one output per horizon.
    pub log_odds: Dense,
}

impl Logistic {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a model.
    pub fn read(weights: &Weights) -> anyhow::Result<Self> {
        let inputs = Standardiser::read("inputs", weights)?;
        let bias = weights.get_shaped("bias", &[HORIZONS.len()])?;
        let weights = weights.get_shaped("weights", &[inputs.columns.len(), HORIZONS.len()])?;
        ensure!(!inputs.columns.is_empty(), "tensor inputs.columns: is empty");
        Ok(Self { log_odds: Dense::new(&weights, &bias), inputs })
    }

    /// The tensors of an artifact.
    pub fn write(&self, weights: &mut Weights) {
        self.inputs.write("inputs", weights);
        weights.put("bias", &[HORIZONS.len()], self.log_odds.bias());
        weights.put("weights", &[self.inputs.columns.len(), HORIZONS.len()], &self.log_odds.weights());
    }
}

impl Forecaster for Logistic {
    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> [f32; BINS] {
        let (mut x, mut log_odds) = (vec![], vec![]);
        self.inputs.apply(&row.inputs(), &mut x);
        self.log_odds.apply(&x, x.len(), &mut log_odds);
        let survival: Vec<f64> =
            log_odds[..HORIZONS.len()].iter().map(|odds| 1.0 / (1.0 + f64::from(-odds).exp())).collect();
        through_horizons(&HORIZONS, &survival)
    }
}

/// The probabilities of bins with P(length > horizon) as given: exponential between horizons, that is with a constant hazard, and
/// so on beyond the last. Where a later horizon has more than an earlier one, it gets as much.
pub fn through_horizons(horizons: &[u32], survival: &[f64]) -> [f32; BINS] {
    let mut points = vec![(0.0, 0.0)];
    for (horizon, survival) in horizons.iter().zip(survival) {
        let last = points[points.len() - 1].1;
        points.push((f64::from(*horizon), survival.max(1e-6).ln().min(last)));
    }
    let mut k = 1;
    let left = BIN_EDGES.map(|edge| {
        let x = f64::from(edge);
        while k + 1 < points.len() && points[k].0 < x {
            k += 1;
        }
        let ((x0, y0), (x1, y1)) = (points[k - 1], points[k]);
        (y0 + (y1 - y0) * (x - x0) / (x1 - x0)).exp()
    });
    std::array::from_fn(|k| (left[k] - left.get(k + 1).unwrap_or(&0.0)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head::distribution;

    #[test]
    fn horizons_that_contradict_each_other_still_give_a_distribution() {
        let distribution = distribution(&through_horizons(&[1, 4, 16], &[0.9, 0.95, 0.3]));
        assert!((distribution.survival(1.0) - 0.9).abs() < 1e-6);
        assert!((distribution.survival(4.0) - 0.9).abs() < 1e-6);
        assert!((distribution.survival(16.0) - 0.3).abs() < 1e-6);
        assert!(distribution.survival(28.0) < 0.3 && distribution.mean().is_finite());
    }
}
