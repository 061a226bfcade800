//! Root mean square normalisation.

use super::rows::{Rows, build, build_all, padded};
use crate::simd::{Kernel, LANES, Simd, dispatch};
use candle_core::{Device, Result, Tensor};

/// As [`rms_norm`](crate::rms_norm), whose checks have passed.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let width = weight.elem_count();
    let x = Rows::new("x", x)?;
    let weight = weight.unsqueeze(0)?;
    let weight = Rows::with_shape("norm weight", &weight, 1, width)?;
    let out = build(x.count, x.width, |index, out| {
        for (x, out) in x.row(index).chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            dispatch(RmsNorm { x, weight: weight.row(0), eps, out });
        }
    });
    Tensor::from_vec(out, (x.count, x.width), &Device::Cpu)
}

/// As [`add_rms_norm`](crate::add_rms_norm).
pub(crate) fn add_rms_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let x = Rows::new("x", x)?;
    let y = Rows::with_shape("y", y, x.count, x.width)?;
    let weight = weight.unsqueeze(0)?;
    let weight = Rows::with_shape("norm weight", &weight, 1, x.width)?;
    let [sum, normed] = build_all(x.count, x.width, |index, [sum, out]| {
        for ((sum, x), y) in sum.iter_mut().zip(x.row(index)).zip(y.row(index)) {
            *sum = x + y;
        }
        dispatch(RmsNorm { x: sum, weight: weight.row(0), eps, out });
    });
    let tensor = |data| Tensor::from_vec(data, (x.count, x.width), &Device::Cpu);
    Ok((tensor(sum)?, tensor(normed)?))
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, weight, eps, out } = self;
        let width = x.len();
        let (parts, tail) = x.as_chunks::<LANES>();
        let mut squares = s.splat(0.0);
        for part in parts.iter().chain([&padded(tail)]) {
            let v = s.load(part);
            squares = s.fma(v, v, squares);
        }
        let inverse = 1.0 / (s.sum(squares) / width as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * inverse * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;
    use crate::testing::normals;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rms_norm_is_exact_to_rounding_and_alike_on_every_path(width in 1usize..70, seed in any::<u64>()) {
            let (x, weight) = (normals(width, seed), normals(width, seed ^ 1));
            let (mut out, mut plain) = (vec![0.0; width], vec![0.0; width]);
            dispatch(RmsNorm { x: &x, weight: &weight, eps: 1e-5, out: &mut out });
            RmsNorm { x: &x, weight: &weight, eps: 1e-5, out: &mut plain }.run(Plain);
            prop_assert_eq!(&out, &plain);
            let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / width as f64;
            for ((got, x), weight) in out.iter().zip(&x).zip(&weight) {
                let want = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*weight);
                prop_assert!((f64::from(*got) - want).abs() <= 1e-5);
            }
        }
    }

    #[test]
    fn the_residual_sum_comes_back_beside_its_norm() -> Result<()> {
        let shape = (3, 40);
        let x = Tensor::from_vec(normals(120, 1), shape, &Device::Cpu)?;
        let y = Tensor::from_vec(normals(120, 2), shape, &Device::Cpu)?;
        let weight = Tensor::from_vec(normals(40, 3), 40, &Device::Cpu)?;
        let (sum, normed) = add_rms_norm(&x, &y, &weight, 1e-5)?;
        assert_eq!(sum.to_vec2::<f32>()?, (&x + &y)?.to_vec2::<f32>()?);
        assert_eq!(normed.to_vec2::<f32>()?, rms_norm(&sum, &weight, 1e-5)?.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn heads_side_by_side_are_each_normed_as_if_alone() -> Result<()> {
        let heads = Tensor::from_vec(normals(60, 1), (5, 12), &Device::Cpu)?;
        let weight = Tensor::from_vec(normals(12, 2), 12, &Device::Cpu)?;
        let alone = rms_norm(&heads, &weight, 1e-6)?.flatten_all()?.to_vec1::<f32>()?;
        let beside = rms_norm(&heads.reshape((1, 60))?, &weight, 1e-6)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(beside, alone);
        Ok(())
    }
}
