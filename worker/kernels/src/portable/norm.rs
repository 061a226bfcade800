//! Root mean square normalisation.

use candle_core::{Result, Tensor};
use candle_nn::ops;

/// As [`rms_norm`](crate::rms_norm).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    // Heads side by side are rows to candle.
    ops::rms_norm(&x.contiguous()?.reshape(((), weight.dims1()?))?, weight, eps)?.reshape(x.shape())
}

/// As [`add_rms_norm`](crate::add_rms_norm).
pub(crate) fn add_rms_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let sum = (x + y)?;
    let normed = rms_norm(&sum, weight, eps)?;
    Ok((sum, normed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{largest_difference, normals, strided};
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn norms_are_those_of_the_kernels(
            rows in 1usize..5, heads in 1usize..4, head_dim in 1usize..30, seed in any::<u64>(),
        ) {
            let width = heads * head_dim;
            let x = strided(normals(rows * width, seed), rows, width)?;
            let y = strided(normals(rows * width, seed ^ 1), rows, width)?;
            let weight = |n| Tensor::from_vec(normals(n, seed ^ 2), n, &Device::Cpu);
            for weight in [weight(width)?, weight(head_dim)?] {
                let (got, want) = (rms_norm(&x, &weight, 1e-5)?, crate::rms_norm(&x, &weight, 1e-5)?);
                prop_assert_eq!(got.dims(), want.dims());
                prop_assert!(largest_difference(&got, &want)? < 1e-5);
            }
            let weight = weight(width)?;
            let (sum, normed) = add_rms_norm(&x, &y, &weight, 1e-5)?;
            let (kernel_sum, kernel_normed) = crate::add_rms_norm(&x, &y, &weight, 1e-5)?;
            prop_assert!(largest_difference(&sum, &kernel_sum)? == 0.0);
            prop_assert!(largest_difference(&normed, &kernel_normed)? < 1e-5);
        }
    }
}
