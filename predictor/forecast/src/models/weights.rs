//! [`Weights`]: the named tensors of an artifact, and their checked reading.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// One tensor as it lies in the file.
#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Named tensors. Numbers are written as given and read back as single precision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Adds numbers in single precision.
    pub fn put(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.into(), Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes });
    }

    /// Adds numbers in half precision, as a network's weights are kept: they take half the room.
    pub fn put_half(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        self.tensors.insert(name.into(), Tensor { dtype: Dtype::F16, shape: shape.to_vec(), bytes });
    }

    /// Adds bytes that mean something to one model only.
    pub fn put_bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.tensors.insert(name.into(), Tensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes });
    }

    /// The numbers called `name`, and their shape.
    ///
    /// # Errors
    /// When there are none, or one is not finite.
    pub fn get(&self, name: &str) -> anyhow::Result<(&[usize], Vec<f32>)> {
        let tensor = self.tensors.get(name).with_context(|| format!("tensor {name} is missing; train it again"))?;
        let values: Vec<f32> = match tensor.dtype {
            Dtype::F32 => tensor.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::F16 => tensor.bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            other => anyhow::bail!("tensor {name}: must hold F32 or F16, holds {other:?}"),
        };
        ensure!(values.iter().all(|value| value.is_finite()), "tensor {name}: holds numbers that are not finite");
        Ok((&tensor.shape, values))
    }

    /// The numbers called `name`, in the shape `shape`.
    ///
    /// # Errors
    /// When there are none of this shape.
    pub fn get_shaped(&self, name: &str, shape: &[usize]) -> anyhow::Result<Vec<f32>> {
        let (found, values) = self.get(name)?;
        ensure!(found == shape, "tensor {name}: must have the shape {shape:?}, has {found:?}");
        Ok(values)
    }

    /// The bytes called `name`.
    ///
    /// # Errors
    /// When there are none.
    pub fn get_bytes(&self, name: &str) -> anyhow::Result<&[u8]> {
        let tensor = self.tensors.get(name).with_context(|| format!("tensor {name} is missing; train it again"))?;
        ensure!(tensor.dtype == Dtype::U8, "tensor {name}: must hold U8, holds {:?}", tensor.dtype);
        Ok(&tensor.bytes)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes over the tensors of a file.
    pub(super) fn of_file(file: &SafeTensors<'_>) -> Self {
        let tensors = file.iter().map(|(name, view)| {
            let bytes = view.data().to_vec();
            (name.to_owned(), Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes })
        });
        Self { tensors: tensors.collect() }
    }

    /// The tensors as a file takes them.
    pub(super) fn views(&self) -> anyhow::Result<Vec<(&str, TensorView<'_>)>> {
        self.tensors
            .iter()
            .map(|(name, tensor)| {
                Ok((name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?))
            })
            .collect()
    }
}
