//! `survival`, `mlp` and `length-only`: one network that looks at one row. What it may see makes the difference.

use std::sync::Arc;

use super::dense::Perceptron;
use super::forecaster::{Asked, Forecaster, Memory};
use super::head::{BINS, softmax};
use super::weights::Weights;
use crate::features::FeatureRow;

/// Name of the network among the tensors.
pub(crate) const NETWORK: &str = "network";

/// A network over the present row alone.
pub(crate) struct Mlp {
    network: Perceptron,
}

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(Mlp::read(weights)?))
}

impl Mlp {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a network.
    pub(crate) fn read(weights: &Weights) -> anyhow::Result<Self> {
        Ok(Self { network: Perceptron::read(NETWORK, weights)? })
    }
}

impl Forecaster for Mlp {
    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> [f32; BINS] {
        let mut probabilities = self.network.scores([&row.inputs()].into_iter());
        probabilities.iter_mut().for_each(softmax);
        probabilities[0]
    }

    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<[f32; BINS]> {
        let inputs: Vec<_> = asked.iter().map(|asked| asked.row.inputs()).collect();
        let mut probabilities = self.network.scores(inputs.iter());
        probabilities.iter_mut().for_each(softmax);
        probabilities
    }
}
