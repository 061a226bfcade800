//! [`FormatMatrix`]: a weight matrix of any format that has a kernel.

use super::affine::{Q4_1, Q4K, Q5_1, Q5K};
use super::dense::{Bf16, Dense, F16};
use super::matrix::{self, Matrix};
use super::output::Output;
use super::packed::Packed;
use super::q4_0::Q4_0;
use super::q8::{Q6K, Q8_0, q8_0_from_q5_0};
use crate::options::Compute;
use crate::pool::Pool;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, bail};
use std::borrow::Cow;

/// See [`Matrix`].
pub(crate) enum FormatMatrix {
    F32(Dense<f32>),
    F16(Dense<F16>),
    Bf16(Dense<Bf16>),
    Q4_0(Packed<Q4_0>),
    Q4_1(Packed<Q4_1>),
    Q4K(Packed<Q4K>),
    Q5_1(Packed<Q5_1>),
    Q5K(Packed<Q5K>),
    Q6K(Packed<Q6K>),
    Q8_0(Packed<Q8_0>),
}

/// Evaluates an expression with the matrix inside a [`FormatMatrix`], of whatever format.
macro_rules! with_matrix {
    ($weights:expr, $matrix:ident => $body:expr) => {
        match $weights {
            FormatMatrix::F32($matrix) => $body,
            FormatMatrix::F16($matrix) => $body,
            FormatMatrix::Bf16($matrix) => $body,
            FormatMatrix::Q4_0($matrix) => $body,
            FormatMatrix::Q4_1($matrix) => $body,
            FormatMatrix::Q4K($matrix) => $body,
            FormatMatrix::Q5_1($matrix) => $body,
            FormatMatrix::Q5K($matrix) => $body,
            FormatMatrix::Q6K($matrix) => $body,
            FormatMatrix::Q8_0($matrix) => $body,
        }
    };
}

impl FormatMatrix {
    /// Repacks matrices of `columns` input features and one type, one below the other.
    pub(crate) fn new(tensors: &[QTensor], columns: usize, compute: Compute) -> Result<Self> {
        let Some(dtype) = tensors.first().map(QTensor::dtype) else { bail!("linear: no weights") };
        if compute == Compute::F32 {
            return Self::dense(tensors, columns);
        }
        let files = || tensors.iter().map(QTensor::data).collect::<Result<Vec<_>>>();
        let halves = || -> Result<Vec<Vec<u16>>> {
            let bits = |file: &[u8]| file.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
            Ok(files()?.iter().map(|file| bits(file)).collect())
        };
        Ok(match dtype {
            GgmlDType::Q4_0 => Self::Q4_0(Packed::new(&files()?, columns)),
            GgmlDType::Q4_1 => Self::Q4_1(Packed::new(&files()?, columns)),
            GgmlDType::Q4K => Self::Q4K(Packed::new(&files()?, columns)),
            GgmlDType::Q5_0 => {
                let files: Vec<_> = files()?.iter().map(|file| Cow::Owned(q8_0_from_q5_0(file))).collect();
                Self::Q8_0(Packed::new(&files, columns))
            }
            GgmlDType::Q5_1 => Self::Q5_1(Packed::new(&files()?, columns)),
            GgmlDType::Q5K => Self::Q5K(Packed::new(&files()?, columns)),
            GgmlDType::Q6K => Self::Q6K(Packed::new(&files()?, columns)),
            GgmlDType::Q8_0 => Self::Q8_0(Packed::new(&files()?, columns)),
            GgmlDType::F16 => Self::F16(Dense::new(&map_all(halves()?, F16), columns)),
            GgmlDType::BF16 => Self::Bf16(Dense::new(&map_all(halves()?, Bf16), columns)),
            _ => Self::dense(tensors, columns)?,
        })
    }

    fn dense(tensors: &[QTensor], columns: usize) -> Result<Self> {
        let dequantized = |t: &QTensor| t.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1();
        Ok(Self::F32(Dense::new(&tensors.iter().map(dequantized).collect::<Result<Vec<_>>>()?, columns)))
    }

    pub(crate) fn rows(&self) -> usize {
        with_matrix!(self, m => m.rows())
    }

    pub(crate) fn size_in_bytes(&self) -> usize {
        with_matrix!(self, m => m.size_in_bytes())
    }

    pub(crate) fn multiply(&self, x: &[f32], out: &Output<'_>, pool: &Pool) {
        with_matrix!(self, m => matrix::multiply(m, x, out, pool));
    }

    pub(crate) fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        with_matrix!(self, m => m.dequantize_row(row, out));
    }
}

fn map_all<A, B>(parts: Vec<Vec<A>>, f: impl Fn(A) -> B + Copy) -> Vec<Vec<B>> {
    parts.into_iter().map(|part| part.into_iter().map(f).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Path;
    use crate::testing::normals;
    use candle_core::Tensor;
    use proptest::prelude::*;
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

    /// A random matrix in a file's format, and its product with random rows, alike on all paths.
    fn check(
        dtype: GgmlDType,
        rows: usize,
        columns: usize,
        x_rows: usize,
        seed: u64,
    ) -> std::result::Result<(), TestCaseError> {
        let weights = Tensor::from_vec(normals(rows * columns, seed), (rows, columns), &Device::Cpu)?;
        let tensor = QTensor::quantize(&weights, dtype)?;
        let x = normals(x_rows * columns, seed ^ 1);
        with_matrix!(&FormatMatrix::new(&[tensor], columns, Compute::Quantized)?, m => same_on_all_paths(m, &x))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_format_gives_the_same_bits_on_every_path(
            x_rows in 1usize..20, rows in 1usize..40, blocks in 1usize..3, odd in 0usize..32, seed in any::<u64>(),
        ) {
            let columns = 256 * blocks;
            let quantized = [
                GgmlDType::Q4_0,
                GgmlDType::Q4_1,
                GgmlDType::Q4K,
                GgmlDType::Q5_1,
                GgmlDType::Q5K,
                GgmlDType::Q6K,
                GgmlDType::Q8_0,
            ];
            for dtype in quantized {
                check(dtype, rows, columns, x_rows, seed)?;
            }
            for dtype in [GgmlDType::F16, GgmlDType::BF16, GgmlDType::F32] {
                check(dtype, rows, columns + odd, x_rows, seed)?;
            }
        }
    }

    #[test]
    fn weights_of_five_bits_take_a_byte_each_and_their_scales() -> Result<()> {
        for (dtype, bytes) in [(GgmlDType::Q5_0, 34), (GgmlDType::Q5_1, 36)] {
            let weights = QTensor::quantize(&Tensor::zeros((8, 64), candle_core::DType::F32, &Device::Cpu)?, dtype)?;
            assert_eq!(FormatMatrix::new(&[weights], 64, Compute::Quantized)?.size_in_bytes(), 8 * 2 * bytes);
        }
        let weights =
            QTensor::quantize(&Tensor::zeros((8, 256), candle_core::DType::F32, &Device::Cpu)?, GgmlDType::Q5K)?;
        assert_eq!(FormatMatrix::new(&[weights], 256, Compute::Quantized)?.size_in_bytes(), 8 * (256 + 4 + 2 * 8));
        Ok(())
    }
}
