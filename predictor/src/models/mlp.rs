//! `survival`, `mlp` and `length-only`: one network that looks at one row. What it may see makes the difference.

use super::dense::Perceptron;
use super::head::{distribution, softmax};
use super::weights::Weights;
use super::{Forecaster, Memory};
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

/// Name of the network among the tensors.
pub const NETWORK: &str = "network";

/// A network over the present row alone.
pub struct Mlp {
    network: Perceptron,
}

impl Mlp {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a network.
    pub fn read(weights: &Weights) -> anyhow::Result<Self> {
        Ok(Self { network: Perceptron::read(NETWORK, weights)? })
    }
}

impl Forecaster for Mlp {
    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> LengthDistribution {
        let mut probabilities = self.network.scores(&row.inputs());
        softmax(&mut probabilities);
        distribution(&probabilities)
    }
}
