//! What a matrix product needs of a weight format, and the loop that all formats share.

use super::output::Output;
use super::panels::Path;
use super::pool::Pool;
use std::ops::Range;

/// A weight matrix repacked into panels of consecutive output features.
///
/// Batch invariance is the contract: an output depends on its weight row and its activation row, with one fixed order of float
/// operations, however many rows [`Matrix::multiply`] gets.
pub(crate) trait Matrix: Sync {
    /// Output features in a panel, a multiple of 8.
    const PANEL: usize;
    /// Activations, prepared once for all panels.
    type Input<'a>: Sync;

    /// Output features.
    fn rows(&self) -> usize;
    /// Input features.
    fn columns(&self) -> usize;
    fn size_in_bytes(&self) -> usize;
    /// Prepares rows of [`Matrix::columns`] activations.
    fn prepare<'a>(&self, x: &'a [f32], pool: &Pool) -> Self::Input<'a>;
    /// Computes the output features of some panels for all rows of `x`.
    fn multiply(&self, path: Path, panels: Range<usize>, x: &Self::Input<'_>, out: &Output<'_>);
    /// Writes the dequantised weights of one output feature.
    fn dequantize_row(&self, row: usize, out: &mut [f32]);
}

/// Writes `x` (rows of [`Matrix::columns`]) times the transposed matrix to `out` (rows of [`Matrix::rows`]).
pub(crate) fn multiply<M: Matrix>(matrix: &M, x: &[f32], out: &Output<'_>, pool: &Pool) {
    let input = matrix.prepare(x, pool);
    let panels = matrix.rows().div_ceil(M::PANEL);
    // Enough tasks to even out the threads, few enough that a task reuses its rows from the cache.
    let size = (panels / (8 * pool.threads())).clamp(1, 8);
    // Of the widest vectors one holds two panels.
    let size = if size > 1 { size.next_multiple_of(2) } else { size };
    pool.run(panels.div_ceil(size), &|task| {
        matrix.multiply(Path::Best, task * size..panels.min((task + 1) * size), &input, out);
    });
}

#[cfg(test)]
mod tests {
    use super::super::dense::{Bf16, Dense, F16};
    use super::super::packed::Packed;
    use super::super::q4::{Q4_0, Q4_1, Q4K};
    use super::super::q8::{Q6K, Q8_0};
    use super::super::testing::normals;
    use super::*;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Result, Tensor};
    use half::{bf16, f16};
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::num::NonZeroUsize;

    /// The product on the best instruction set, on the best that takes one panel at a time, and on plain Rust.
    fn on_all_paths<M: Matrix>(matrix: &M, x: &[f32]) -> [Vec<f32>; 3] {
        let input = matrix.prepare(x, &Pool::new(NonZeroUsize::MIN));
        let width = matrix.rows();
        [Path::Best, Path::OnePanel, Path::Plain].map(|path| {
            let len = x.len() / matrix.columns() * width;
            let mut buffer = vec![std::mem::MaybeUninit::new(f32::NAN); len];
            let out = Output::new(&mut buffer, width, 0..width);
            matrix.multiply(path, 0..width.div_ceil(M::PANEL), &input, &out);
            // SAFETY: every element was initialised above.
            #[expect(unsafe_code, reason = "reads what the kernel wrote")]
            buffer.into_iter().map(|x| unsafe { x.assume_init() }).collect()
        })
    }

    fn same_on_all_paths<M: Matrix>(matrix: &M, x: &[f32]) -> std::result::Result<(), TestCaseError> {
        let [best, one_panel, plain] = on_all_paths(matrix, x);
        prop_assert_eq!(&best, &plain);
        prop_assert_eq!(one_panel, plain);
        Ok(())
    }

    fn file(rows: usize, columns: usize, dtype: GgmlDType, seed: u64) -> Result<QTensor> {
        let weights = Tensor::from_vec(normals(rows * columns, seed), (rows, columns), &Device::Cpu)?;
        QTensor::quantize(&weights, dtype)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_format_gives_the_same_bits_on_every_path(
            x_rows in 1usize..20, rows in 1usize..40, blocks in 1usize..3, odd in 0usize..32, seed in any::<u64>(),
        ) {
            let columns = 256 * blocks;
            let x = normals(x_rows * columns, seed ^ 1);
            let data = |dtype| file(rows, columns, dtype, seed)?.data().map(|data| [Cow::Owned(data.into_owned())]);
            same_on_all_paths(&Packed::<Q4_0>::new(&data(GgmlDType::Q4_0)?, columns), &x)?;
            same_on_all_paths(&Packed::<Q4_1>::new(&data(GgmlDType::Q4_1)?, columns), &x)?;
            same_on_all_paths(&Packed::<Q4K>::new(&data(GgmlDType::Q4K)?, columns), &x)?;
            same_on_all_paths(&Packed::<Q6K>::new(&data(GgmlDType::Q6K)?, columns), &x)?;
            same_on_all_paths(&Packed::<Q8_0>::new(&data(GgmlDType::Q8_0)?, columns), &x)?;
            let columns = columns + odd;
            let (weights, x) = (normals(rows * columns, seed), normals(x_rows * columns, seed ^ 1));
            let bits = |to_bits: fn(f32) -> u16| weights.iter().map(|&w| to_bits(w)).collect::<Vec<_>>();
            let f16s = bits(|w| f16::from_f32(w).to_bits()).into_iter().map(F16).collect();
            let bf16s = bits(|w| bf16::from_f32(w).to_bits()).into_iter().map(Bf16).collect();
            same_on_all_paths(&Dense::<F16>::new(&[f16s], columns), &x)?;
            same_on_all_paths(&Dense::<Bf16>::new(&[bf16s], columns), &x)?;
            same_on_all_paths(&Dense::<f32>::new(&[weights], columns), &x)?;
        }
    }
}
