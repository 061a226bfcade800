//! The linear layer: repacked weights behind a candle custom op.

use super::formats::FormatMatrix;
use super::output::Output;
use crate::options::Compute;
use crate::pool::Pool;
use crate::spent;
use candle_core::quantized::QTensor;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};

/// Parts of the output features, in order.
pub(crate) struct Linear {
    parts: Vec<FormatMatrix>,
    in_features: usize,
    out_features: usize,
}

impl Linear {
    /// As [`Linear::stack`](crate::Linear::stack), whose checks have passed. Weights of one type become one matrix.
    pub(crate) fn stack(weights: &[QTensor], in_features: usize, compute: Compute) -> Result<Self> {
        let same_type = |a: &QTensor, b: &QTensor| a.dtype() == b.dtype();
        let parts = weights.chunk_by(same_type).map(|tensors| FormatMatrix::new(tensors, in_features, compute));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let out_features = parts.iter().map(FormatMatrix::rows).sum();
        Ok(Self { parts, in_features, out_features })
    }

    /// As [`Linear::forward`](crate::Linear::forward).
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let operations = 2 * x.elem_count() * self.out_features;
        spent::matmul(self.size_in_bytes(), operations, || x.apply_op1_no_bwd(self))
    }

    pub(crate) fn out_features(&self) -> usize {
        self.out_features
    }

    pub(crate) fn in_features(&self) -> usize {
        self.in_features
    }

    /// As [`Linear::embed`](crate::Linear::embed).
    pub(crate) fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let width = self.in_features;
        let mut out = vec![0.0; ids.len() * width];
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(width)) {
            let mut row = id as usize;
            let part = self.parts.iter().find(|part| {
                let rows = part.rows();
                let found = row < rows;
                row -= if found { 0 } else { rows };
                found
            });
            let Some(part) = part else {
                bail!("embed: id {id} is not less than {}", self.out_features);
            };
            part.dequantize_row(row, out);
        }
        Tensor::from_vec(out, (ids.len(), width), &Device::Cpu)
    }

    pub(crate) fn size_in_bytes(&self) -> usize {
        self.parts.iter().map(FormatMatrix::size_in_bytes).sum()
    }

    /// Rows of `x` times the transposed weights.
    pub(crate) fn multiply(&self, x: &[f32], pool: &Pool) -> Vec<f32> {
        let stride = self.out_features;
        let len = x.len() / self.in_features * stride;
        let mut buffer = Vec::with_capacity(len);
        let mut start = 0;
        for part in &self.parts {
            let end = start + part.rows();
            part.multiply(x, &Output::new(&mut buffer.spare_capacity_mut()[..len], stride, start..end), pool);
            start = end;
        }
        // SAFETY: the parts cover every column, and each wrote every row.
        #[expect(unsafe_code, reason = "zeroing a buffer that is overwritten costs a pass over memory")]
        unsafe {
            buffer.set_len(len);
        }
        buffer
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(x), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("linear: the input must be contiguous f32");
        };
        let mut dims = layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == self.in_features => *last = self.out_features,
            _ => bail!("linear: the last dimension of the input {dims:?} must be {}", self.in_features),
        }
        Ok((CpuStorage::F32(self.multiply(&x[start..end], Pool::global())), dims.into()))
    }
}
