//! What an architecture reads its weights with.

use candle_core::{Device, Tensor};
use eoscast_kernels::{Compute, Linear};

use crate::checkpoint::{Checkpoint, CheckpointError};

/// An open model, and where its weights go.
pub(crate) struct Loader<'a> {
    pub(crate) checkpoint: &'a mut Checkpoint,
    /// Rows of the embedding.
    pub(crate) vocab_size: usize,
    pub(crate) compute: Compute,
    /// Where the weights are put.
    pub(crate) device: &'a Device,
    /// Called with layers done, and of how many.
    pub(crate) progress: &'a mut dyn FnMut(usize, usize),
}

impl Loader<'_> {
    /// The matrix `[vocab_size, inputs]` of tensor `name`.
    pub(crate) fn vocabulary(&mut self, name: &str, inputs: usize) -> Result<Linear, CheckpointError> {
        let weight = self.checkpoint.tensor(name, &[self.vocab_size, inputs], self.device)?;
        Ok(Linear::new(weight, self.compute)?)
    }

    /// The parts of layer `index`.
    pub(crate) fn layer(&mut self, index: usize) -> LayerLoader<'_> {
        LayerLoader { index, compute: self.compute, device: self.device, checkpoint: self.checkpoint }
    }
}

/// Reads the tensors of one layer.
pub(crate) struct LayerLoader<'a> {
    index: usize,
    compute: Compute,
    device: &'a Device,
    checkpoint: &'a mut Checkpoint,
}

impl LayerLoader<'_> {
    /// One layer from the matrices of `parts`, each a name and its outputs, that follow each other.
    pub(crate) fn linear(&mut self, parts: &[(&str, usize)], inputs: usize) -> Result<Linear, CheckpointError> {
        let weights = parts.iter().map(|(part, outputs)| {
            self.checkpoint.tensor(&format!("blk.{}.{part}.weight", self.index), &[*outputs, inputs], self.device)
        });
        Ok(Linear::stack(&weights.collect::<Result<Vec<_>, _>>()?, self.compute)?)
    }

    /// The biases of `parts`, one after the other.
    pub(crate) fn bias(&mut self, parts: &[(&str, usize)]) -> Result<Tensor, CheckpointError> {
        let biases = parts.iter().map(|(part, outputs)| {
            self.checkpoint.vector(&format!("blk.{}.{part}.bias", self.index), *outputs, self.device)
        });
        Ok(Tensor::cat(&biases.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// The weights of a norm.
    pub(crate) fn norm(&mut self, part: &str, length: usize) -> Result<Tensor, CheckpointError> {
        Ok(self.checkpoint.vector(&format!("blk.{}.{part}.weight", self.index), length, self.device)?)
    }
}
