//! Rotary position embedding.

use crate::options::RopeLayout;
use candle_core::{D, Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

/// The tables of a batch's rotation on a device, `[rows, 1, frequencies]`: to candle each row is a sequence of its own,
/// of one position.
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    /// From tables `[rows, frequencies]`.
    pub(crate) fn new(cos: &[f32], sin: &[f32], rows: usize, device: &Device) -> Result<Self> {
        let table = |values| Tensor::from_slice(values, (rows, 1, values.len() / rows.max(1)), device);
        Ok(Self { cos: table(cos)?, sin: table(sin)? })
    }

    /// As [`Rotation::apply`](crate::Rotation::apply), whose checks have passed.
    pub(crate) fn apply(&self, x: &Tensor, head_dim: usize, layout: RopeLayout) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let heads = x.contiguous()?.reshape((rows, (), 1, head_dim))?;
        let turned = 2 * self.cos.dim(D::Minus1)?;
        let rotate = match layout {
            RopeLayout::Interleaved => rope_i,
            RopeLayout::Half => rope,
        };
        let rotated = rotate(&heads.narrow(3, 0, turned)?.contiguous()?, &self.cos, &self.sin)?;
        let whole = match head_dim - turned {
            0 => rotated,
            rest => Tensor::cat(&[rotated, heads.narrow(3, turned, rest)?], 3)?,
        };
        whole.reshape(x.shape())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{largest_difference, normals, strided};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rotation_is_that_of_the_kernel(
            half in 1usize..20, rest in 0usize..5, heads in 1usize..4, rows in 1usize..5, start in 0u32..5000,
            seed in any::<u64>(),
        ) {
            let head_dim = 2 * half + rest;
            let positions: Vec<u32> = (start..).take(rows).collect();
            let inverse_frequencies: Vec<f32> = (0..half).map(|i| 0.7f32.powi(i as i32)).collect();
            let kernel = crate::Rotation::new(&positions, &inverse_frequencies);
            let x = strided(normals(rows * heads * head_dim, seed), rows, heads * head_dim)?;
            for layout in [RopeLayout::Interleaved, RopeLayout::Half] {
                let got = kernel.on(&Device::Cpu)?.apply(&x, head_dim, layout)?;
                let error = largest_difference(&got, &kernel.apply(&x, head_dim, layout)?)?;
                prop_assert!(error < 1e-6, "{:?}: {}", layout, error);
            }
        }
    }
}
