//! A model's weights and settings, from a GGUF file or a hub folder. Tensors go by the names that GGUF files give them.

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};

use super::error::{FileError, WeightError};
use super::gguf::GgufFile;
use super::hub::HubFolder;
use eoscast_kernels::{Compute, Linear};

/// An open model.
pub(super) enum Checkpoint {
    Gguf(GgufFile),
    Hub(Box<HubFolder>),
}

impl Checkpoint {
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        match self {
            Self::Gguf(file) => file.has_tensor(name),
            Self::Hub(folder) => folder.has_tensor(name),
        }
    }

    /// Reads tensor `name`, which must have `shape` (rows first), onto `device`.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        match self {
            Self::Gguf(file) => file.tensor(name, shape, device),
            Self::Hub(folder) => folder.tensor(name, shape, device),
        }
    }

    /// Reads a vector of `length` numbers in f32 onto `device`, e.g. a norm's weights.
    pub(super) fn vector(&mut self, name: &str, length: usize, device: &Device) -> Result<Tensor, WeightError> {
        let tensor = self.tensor(name, &[length], &Device::Cpu)?;
        tensor.dequantize(device).map_err(|error| WeightError::unreadable(name, error))
    }

    /// Refuses a model with tensors that were not asked for: it has parts that its architecture here has not.
    pub(super) fn check_all_read(&self) -> Result<(), WeightError> {
        let unread = match self {
            Self::Gguf(file) => file.unread(),
            Self::Hub(folder) => folder.unread(),
        };
        unread.map_or(Ok(()), |name| Err(WeightError::Unused(name.to_owned())))
    }
}

/// What an architecture reads its weights with.
pub(super) struct Loader<'a> {
    pub(super) checkpoint: &'a mut Checkpoint,
    /// Rows of the embedding.
    pub(super) vocab_size: usize,
    pub(super) compute: Compute,
    /// Where the weights are put.
    pub(super) device: &'a Device,
    /// Called with layers done, and of how many.
    pub(super) progress: &'a mut dyn FnMut(usize, usize),
}

impl Loader<'_> {
    /// The matrix `[vocab_size, inputs]` of tensor `name`.
    pub(super) fn vocabulary(&mut self, name: &str, inputs: usize) -> Result<Linear, FileError> {
        let weight = self.checkpoint.tensor(name, &[self.vocab_size, inputs], self.device)?;
        Ok(Linear::new(weight, self.compute)?)
    }

    /// The parts of layer `index`.
    pub(super) fn layer(&mut self, index: usize) -> LayerLoader<'_> {
        LayerLoader { index, compute: self.compute, device: self.device, checkpoint: self.checkpoint }
    }
}

/// Reads the tensors of one layer.
pub(super) struct LayerLoader<'a> {
    index: usize,
    compute: Compute,
    device: &'a Device,
    checkpoint: &'a mut Checkpoint,
}

impl LayerLoader<'_> {
    /// One layer from the matrices of `parts`, each a name and its outputs, that follow each other.
    pub(super) fn linear(&mut self, parts: &[(&str, usize)], inputs: usize) -> Result<Linear, FileError> {
        let weights = parts.iter().map(|(part, outputs)| {
            self.checkpoint.tensor(&format!("blk.{}.{part}.weight", self.index), &[*outputs, inputs], self.device)
        });
        Ok(Linear::stack(&weights.collect::<Result<Vec<_>, _>>()?, self.compute)?)
    }

    /// The biases of `parts`, one after the other.
    pub(super) fn bias(&mut self, parts: &[(&str, usize)]) -> Result<Tensor, FileError> {
        let biases = parts.iter().map(|(part, outputs)| {
            self.checkpoint.vector(&format!("blk.{}.{part}.bias", self.index), *outputs, self.device)
        });
        Ok(Tensor::cat(&biases.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// The weights of a norm.
    pub(super) fn norm(&mut self, part: &str, length: usize) -> Result<Tensor, FileError> {
        Ok(self.checkpoint.vector(&format!("blk.{}.{part}.weight", self.index), length, self.device)?)
    }
}
