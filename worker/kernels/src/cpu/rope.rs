//! Rotary position embedding.

use super::rows::{Rows, build};
use crate::options::RopeLayout;
use crate::simd::{Kernel, Simd, dispatch};
use candle_core::{Device, Result, Tensor};

/// Cosines and sines of a batch's rotation.
pub(crate) struct RotationTables {
    /// `[rows, frequencies]`, as `sin`.
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
    pub(crate) rows: usize,
    pub(crate) frequencies: usize,
}

impl RotationTables {
    /// Row `r` is turned by `positions[r] * inverse_frequencies[i]` radians.
    pub(crate) fn new(positions: &[u32], inverse_frequencies: &[f32]) -> Self {
        let angles = positions.iter().flat_map(|&p| inverse_frequencies.iter().map(move |f| p as f32 * f));
        let (sin, cos) = angles.map(f32::sin_cos).unzip();
        Self { cos, sin, rows: positions.len(), frequencies: inverse_frequencies.len() }
    }

    /// As [`Rotation::apply`](crate::Rotation::apply), whose checks have passed.
    pub(crate) fn apply(&self, x: &Tensor, head_dim: usize, layout: RopeLayout) -> Result<Tensor> {
        let rows = Rows::new("x", x)?;
        let n = self.frequencies;
        let out = build(rows.count, rows.width, |index, out| {
            out.copy_from_slice(rows.row(index));
            let (cos, sin) = (&self.cos[index * n..][..n], &self.sin[index * n..][..n]);
            dispatch(Rotate { heads: out, head_dim, cos, sin, layout });
        });
        Tensor::from_vec(out, x.dims(), &Device::Cpu)
    }
}

struct Rotate<'a> {
    heads: &'a mut [f32],
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    layout: RopeLayout,
}

impl Kernel for Rotate<'_> {
    type Output = ();

    /// Plain loops, which the compiler vectorises for the instruction set.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { heads, head_dim, cos, sin, layout } = self;
        let n = cos.len();
        for head in heads.chunks_exact_mut(head_dim) {
            let head = &mut head[..2 * n];
            match layout {
                RopeLayout::Interleaved => {
                    for ((pair, &cos), &sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                        let [a, b] = *pair;
                        *pair = [a * cos - b * sin, a * sin + b * cos];
                    }
                }
                RopeLayout::Half => {
                    let (low, high) = head.split_at_mut(n);
                    for (((low, high), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                        let (a, b) = (*low, *high);
                        (*low, *high) = (a * cos - b * sin, a * sin + b * cos);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normals;
    use proptest::prelude::*;

    fn inverse_frequencies(head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / head_dim as f32)).collect()
    }

    proptest! {
        /// candle-nn's `rope_i` and `rope` are the twins.
        #[test]
        fn rotation_is_that_of_candle(half in 1usize..40, rows in 1usize..5, start in 0u32..5000, seed in any::<u64>()) {
            let head_dim = 2 * half;
            let positions: Vec<u32> = (start..).take(rows).collect();
            let rotation = RotationTables::new(&positions, &inverse_frequencies(head_dim));
            let x = Tensor::from_vec(normals(rows * 3 * head_dim, seed), (rows, 3, head_dim), &Device::Cpu)?;
            let table = |v: &[f32]| Tensor::from_slice(v, (rows, half), &Device::Cpu);
            let (cos, sin) = (table(&rotation.cos)?, table(&rotation.sin)?);
            let heads_first = x.transpose(0, 1)?.unsqueeze(0)?.contiguous()?;
            for layout in [RopeLayout::Interleaved, RopeLayout::Half] {
                let got = rotation.apply(&x, head_dim, layout)?;
                let want = match layout {
                    RopeLayout::Interleaved => candle_nn::rotary_emb::rope_i(&heads_first, &cos, &sin)?,
                    RopeLayout::Half => candle_nn::rotary_emb::rope(&heads_first, &cos, &sin)?,
                };
                let want = want.squeeze(0)?.transpose(0, 1)?;
                let error = (got - want)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
                prop_assert!(error < 1e-6, "{:?}: {}", layout, error);
            }
        }
    }

    #[test]
    fn elements_past_the_rotated_ones_stay() -> Result<()> {
        let x = Tensor::from_vec(normals(16, 5), (1, 16), &Device::Cpu)?;
        let turned = RotationTables::new(&[9], &[0.5, 0.1]).apply(&x, 8, RopeLayout::Half)?.to_vec2::<f32>()?;
        let x = x.to_vec2::<f32>()?;
        assert_eq!(turned[0][4..8], x[0][4..8]);
        assert_eq!(turned[0][12..], x[0][12..]);
        assert_ne!(turned[0][..4], x[0][..4]);
        Ok(())
    }
}
