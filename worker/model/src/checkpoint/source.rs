//! A model's weights and settings, from a GGUF file or a hub folder. Tensors go by the names that GGUF files give them.

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};

use super::error::WeightError;
use super::gguf::GgufFile;
use super::hub::HubFolder;

/// An open model.
pub(crate) enum Checkpoint {
    Gguf(GgufFile),
    Hub(Box<HubFolder>),
}

impl Checkpoint {
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        match self {
            Self::Gguf(file) => file.has_tensor(name),
            Self::Hub(folder) => folder.has_tensor(name),
        }
    }

    /// Reads tensor `name`, which must have `shape` (rows first), onto `device`.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        match self {
            Self::Gguf(file) => file.tensor(name, shape, device),
            Self::Hub(folder) => folder.tensor(name, shape, device),
        }
    }

    /// Reads a vector of `length` numbers in f32 onto `device`, e.g. a norm's weights.
    pub(crate) fn vector(&mut self, name: &str, length: usize, device: &Device) -> Result<Tensor, WeightError> {
        let tensor = self.tensor(name, &[length], &Device::Cpu)?;
        tensor.dequantize(device).map_err(|error| WeightError::unreadable(name, error))
    }

    /// Refuses a model with tensors that were not asked for: it has parts that its architecture here has not.
    pub(crate) fn check_all_read(&self) -> Result<(), WeightError> {
        let unread = match self {
            Self::Gguf(file) => file.unread(),
            Self::Hub(folder) => folder.unread(),
        };
        unread.map_or(Ok(()), |name| Err(WeightError::Unused(name.to_owned())))
    }
}
