//! The linear layer.

use crate::options::Compute;
use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor, bail};
use std::borrow::Cow;

/// Parts of the output features, in order, on the device of the weights.
pub(crate) struct Linear {
    parts: Vec<QMatMul>,
    device: Device,
    in_features: usize,
    out_features: usize,
}

impl Linear {
    /// As [`Linear::stack`](crate::Linear::stack), whose checks have passed. Weights of one type become one
    /// matrix.
    pub(crate) fn stack(weights: &[QTensor], in_features: usize, compute: Compute) -> Result<Self> {
        let device = weights.first().map_or(Device::Cpu, QTensor::device);
        let same_type = |a: &QTensor, b: &QTensor| a.dtype() == b.dtype();
        let part = |tensors: &[QTensor]| match compute {
            Compute::F32 => {
                let matrices = tensors.iter().map(|tensor| tensor.dequantize(&device));
                Ok(QMatMul::Tensor(Tensor::cat(&matrices.collect::<Result<Vec<_>>>()?, 0)?))
            }
            Compute::Quantized | Compute::Portable => QMatMul::from_qtensor(join(tensors, in_features, &device)?),
        };
        let parts = weights.chunk_by(same_type).map(part).collect::<Result<Vec<_>>>()?;
        let out_features = parts.iter().map(rows).sum();
        Ok(Self { parts, device, in_features, out_features })
    }

    /// `[.., in]` to `[.., out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let parts = self.parts.iter().map(|part| part.forward(&x)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, D::Minus1)
    }

    /// Rows `ids` of the dequantised weights, `[ids, in]`.
    pub(crate) fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let places = ids.iter().map(|id| self.place(*id)).collect::<Result<Vec<_>>>()?;
        let runs = places.chunk_by(|a, b| a.0 == b.0).map(|run| {
            let rows: Vec<u32> = run.iter().map(|(_, row)| *row).collect();
            self.parts[run[0].0].embedding(&Tensor::new(rows, &self.device)?)
        });
        match runs.collect::<Result<Vec<_>>>()?.as_slice() {
            [] => Tensor::zeros((0, self.in_features), DType::F32, &self.device),
            runs => Tensor::cat(runs, 0),
        }
    }

    /// Part and row of an output feature. Checked here, as a GPU would read past the weights.
    fn place(&self, id: u32) -> Result<(usize, u32)> {
        let mut row = id as usize;
        for (index, part) in self.parts.iter().enumerate() {
            if row < rows(part) {
                return Ok((index, row as u32));
            }
            row -= rows(part);
        }
        bail!("embed: id {id} is not less than {}", self.out_features)
    }

    pub(crate) fn out_features(&self) -> usize {
        self.out_features
    }

    pub(crate) fn in_features(&self) -> usize {
        self.in_features
    }

    pub(crate) fn size_in_bytes(&self) -> usize {
        let size = |part: &QMatMul| match part {
            QMatMul::QTensor(tensor) => tensor.storage_size_in_bytes(),
            QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor) => {
                tensor.elem_count() * tensor.dtype().size_in_bytes()
            }
        };
        self.parts.iter().map(size).sum()
    }
}

/// Output features of a part.
fn rows(part: &QMatMul) -> usize {
    match part {
        QMatMul::QTensor(tensor) => tensor.shape().dims()[0],
        QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor) => tensor.dims()[0],
    }
}

/// One matrix from several of the same type, one below the other: the format keeps a row's blocks together.
fn join(tensors: &[QTensor], in_features: usize, device: &Device) -> Result<QTensor> {
    let [first, ..] = tensors else { bail!("linear: no weights") };
    let bytes = tensors.iter().map(QTensor::data).collect::<Result<Vec<_>>>()?.concat();
    let storage = QStorage::from_data(Cow::Owned(bytes), device, first.dtype())?;
    let rows = tensors.iter().map(|tensor| tensor.shape().elem_count() / in_features).sum::<usize>();
    QTensor::new(storage, (rows, in_features))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{largest_difference, normals};
    use candle_core::quantized::GgmlDType;
    use proptest::prelude::*;

    /// Four formats beside each other, the first two of one type: output features, type, seed.
    const STACK: [(usize, GgmlDType, u64); 4] =
        [(11, GgmlDType::Q4_1, 1), (8, GgmlDType::Q4_1, 2), (5, GgmlDType::Q8_0, 3), (3, GgmlDType::F32, 4)];

    fn stack(in_features: usize, seed: u64) -> Result<Vec<QTensor>> {
        let weight = |(rows, dtype, salt)| {
            let values = normals(rows * in_features, seed ^ salt);
            QTensor::quantize(&Tensor::from_vec(values, (rows, in_features), &Device::Cpu)?, dtype)
        };
        STACK.into_iter().map(weight).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_and_embeddings_are_those_of_the_kernels(
            rows in 1usize..12, pairs in 1usize..3, ids in prop::collection::vec(0u32..27, 0..9), seed in any::<u64>(),
        ) {
            // candle's product of Q4_1 on the CPU wants pairs of blocks.
            let in_features = 64 * pairs;
            let x = Tensor::from_vec(normals(rows * in_features, seed), (rows, in_features), &Device::Cpu)?;
            let kernel = crate::Linear::stack(&stack(in_features, seed)?, Compute::F32)?;
            // candle's products of quantised weights take 8-bit activations.
            for (compute, tolerance) in [(Compute::F32, 1e-5), (Compute::Portable, 0.03)] {
                let layer = Linear::stack(&stack(in_features, seed)?, in_features, compute)?;
                let error = largest_difference(&layer.forward(&x)?, &kernel.forward(&x)?)?;
                prop_assert!(error < tolerance * (in_features as f32).sqrt(), "{:?}: {}", compute, error);
                let (got, want) = (layer.embed(&ids)?, kernel.embed(&ids)?);
                prop_assert_eq!(got.dims(), want.dims());
                prop_assert_eq!(got.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
            }
        }
    }

    #[test]
    fn weights_are_kept_once_and_as_they_are_in_the_file() -> Result<()> {
        let layer = Linear::stack(&stack(64, 1)?, 64, Compute::Portable)?;
        assert_eq!((layer.out_features(), layer.in_features()), (27, 64));
        assert_eq!(layer.size_in_bytes(), 2 * ((11 + 8) * 20 + 5 * 34) + 3 * 64 * 4);
        Ok(())
    }

    #[test]
    fn an_id_past_the_weights_is_refused() -> Result<()> {
        let error = Linear::stack(&stack(32, 1)?, 32, Compute::Portable)?.embed(&[26, 27]).unwrap_err();
        assert!(error.to_string().contains("id 27"), "{error}");
        Ok(())
    }
}
