//! Root mean square normalisation (Zhang and Sennrich 2019).

use crate::{cpu, portable};
use candle_core::{Result, Tensor, bail};

/// `x / sqrt(mean(x²) + eps) * weight` for each `n` elements of a row: `x` is `[rows, k n]`, `weight` is `[n]`. So `n` is the
/// row's width, or that of one head in a row of heads.
///
/// # Errors
/// Where the operands are not `f32` on one device, on the CPU with contiguous rows, or the shapes do not match.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let (width, row) = (weight.elem_count(), x.elem_count() / x.dim(0)?.max(1));
    if width == 0 || !row.is_multiple_of(width) {
        bail!("norm weight has {width} elements, wanted a divisor of the width {row}");
    }
    match x.device().is_cpu() {
        true => cpu::rms_norm(x, weight, eps),
        false => portable::rms_norm(x, weight, eps),
    }
}

/// The residual sum `x + y`, and its [`rms_norm`]; all `[rows, n]`.
///
/// # Errors
/// As [`rms_norm`].
pub fn add_rms_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    match x.device().is_cpu() {
        true => cpu::add_rms_norm(x, y, weight, eps),
        false => portable::add_rms_norm(x, y, weight, eps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn shapes_that_do_not_match_are_refused() {
        let zeros = |n: usize| Tensor::zeros(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = rms_norm(&zeros(8).reshape((1, 8)).unwrap(), &zeros(7), 1e-5).unwrap_err();
        assert!(error.to_string().contains("norm weight"), "{error}");
    }
}
