//! Root mean square normalisation.

use candle_core::{Result, Tensor};
use candle_nn::ops;

/// As [`rms_norm`](crate::kernels::rms_norm).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    ops::rms_norm(&x.contiguous()?, weight, eps)
}

/// As [`add_rms_norm`](crate::kernels::add_rms_norm).
pub(crate) fn add_rms_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let sum = (x + y)?;
    let normed = rms_norm(&sum, weight, eps)?;
    Ok((sum, normed))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{largest_difference, normals, strided};
    use super::*;
    use crate::kernels;
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn norms_are_those_of_the_kernels(rows in 1usize..5, width in 1usize..70, seed in any::<u64>()) {
            let x = strided(normals(rows * width, seed), rows, width)?;
            let y = strided(normals(rows * width, seed ^ 1), rows, width)?;
            let weight = Tensor::from_vec(normals(width, seed ^ 2), width, &Device::Cpu)?;
            let got = rms_norm(&x, &weight, 1e-5)?;
            prop_assert!(largest_difference(&got, &kernels::rms_norm(&x, &weight, 1e-5)?)? < 1e-5);
            let (sum, normed) = add_rms_norm(&x, &y, &weight, 1e-5)?;
            let (kernel_sum, kernel_normed) = kernels::add_rms_norm(&x, &y, &weight, 1e-5)?;
            prop_assert!(largest_difference(&sum, &kernel_sum)? == 0.0);
            prop_assert!(largest_difference(&normed, &kernel_normed)? < 1e-5);
        }
    }
}
