//! Random operands for the tests of kernels, and their comparison.

use candle_core::{Device, Result, Tensor};

/// Roughly normal numbers (sums of uniform ones), the same for the same seed.
pub(crate) fn normals(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| 2.0 * (uniform() + uniform() + uniform())).collect()
}

/// A matrix whose rows lie apart, as those of a tensor narrowed along its last dimension do.
pub(crate) fn strided(values: Vec<f32>, rows: usize, width: usize) -> Result<Tensor> {
    let dense = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
    dense.pad_with_zeros(1, 1, 2)?.narrow(1, 1, width)
}

/// Largest difference of elements; infinite where one is not a number.
pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    let differences = (a - b)?.abs()?.flatten_all()?.to_vec1::<f32>()?;
    Ok(differences.into_iter().fold(0.0, |largest, x| if x.is_nan() { f32::INFINITY } else { largest.max(x) }))
}
