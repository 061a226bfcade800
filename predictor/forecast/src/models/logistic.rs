//! `logistic`: one logistic regression for each of some horizons, on the present row.

use std::sync::Arc;

use anyhow::ensure;

use super::dense::{Dense, Standardiser};
use super::forecaster::{Forecaster, Memory};
use super::head::BINS;
use super::horizons::through_horizons;
use super::weights::Weights;
use crate::features::FeatureRow;

/// Horizons in tokens: each has a regression for "more than this are to come".
pub(crate) const HORIZONS: [u32; 8] = [1, 4, 16, 32, 64, 128, 256, 512];

/// Regressions of P(length > horizon).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logistic {
    /// What they see.
    pub inputs: Standardiser,
    /// The log-odds, one output per horizon.
    pub log_odds: Dense,
}

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(Logistic::read(weights)?))
}

impl Logistic {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a model.
    pub(crate) fn read(weights: &Weights) -> anyhow::Result<Self> {
        let inputs = Standardiser::read("inputs", weights)?;
        let bias = weights.get_shaped("bias", &[HORIZONS.len()])?;
        let weights = weights.get_shaped("weights", &[inputs.columns.len(), HORIZONS.len()])?;
        ensure!(!inputs.columns.is_empty(), "tensor inputs.columns: is empty");
        Ok(Self { log_odds: Dense::new(&weights, &bias), inputs })
    }

    /// The tensors of an artifact.
    pub(crate) fn write(&self, weights: &mut Weights) {
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
