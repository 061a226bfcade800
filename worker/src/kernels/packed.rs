//! Quantised weights times 8-bit activations, for every format whose blocks hold 32 weights.

use super::int8::BLOCK;
use super::matrix::Matrix;
use super::output::{Output, Target};
use super::quantize::{GROUP, QuantizedRows, RowGroup};
use super::simd::{LANES, Simd};
use half::f16;
use std::borrow::Cow;
use std::ops::Range;

/// One block of eight weight rows, interleaved for the kernel.
pub(crate) trait PackedBlock: Copy + Default + Sync {
    /// Bytes of one row's block in a GGUF file.
    const FILE_BYTES: usize;
    /// A block's weights, ready for use with several rows of activations.
    type Unpacked<S: Simd>: Copy;

    /// Takes over row `row` (0..8) from a file block of [`PackedBlock::FILE_BYTES`].
    fn set_row(&mut self, row: usize, file: &[u8]);
    /// Weights of row `row`.
    fn row(&self, row: usize) -> [f32; BLOCK];
    /// Implementations are `#[inline(always)]`, as of the methods below.
    fn unpack<S: Simd>(&self, simd: S) -> Self::Unpacked<S>;
    /// Eight dot products with a block of activations, before the activations' scale.
    fn dot<S: Simd>(&self, simd: S, unpacked: Self::Unpacked<S>, x: &[i8; BLOCK], sum: f32) -> S::F32;
    /// Weight `k` (0..32) of each row.
    fn column<S: Simd>(&self, simd: S, k: usize) -> S::F32;
}

/// Little-endian half at `at` of a file block, as stored and as a number.
pub(crate) fn half_at(file: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([file[at], file[at + 1]])
}

pub(crate) fn half_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// A matrix in panels of eight output features, each stored block by block.
pub(crate) struct Packed<B> {
    blocks: Vec<B>,
    rows: usize,
    /// Blocks in a row.
    width: usize,
}

impl<B: PackedBlock> Packed<B> {
    /// Repacks matrices of `columns` (a multiple of [`BLOCK`]) input features as a file holds them, one below the other.
    pub(crate) fn new(files: &[Cow<'_, [u8]>], columns: usize) -> Self {
        let width = columns / BLOCK;
        let row_bytes = width * B::FILE_BYTES;
        let rows = files.iter().map(|file| file.len() / row_bytes).sum::<usize>();
        let mut blocks = vec![B::default(); rows.div_ceil(LANES) * width];
        for (row, file) in files.iter().flat_map(|file| file.chunks_exact(row_bytes)).enumerate() {
            let panel = &mut blocks[row / LANES * width..][..width];
            for (block, file) in panel.iter_mut().zip(file.chunks_exact(B::FILE_BYTES)) {
                block.set_row(row % LANES, file);
            }
        }
        Self { blocks, rows, width }
    }
}

impl<B: PackedBlock> Matrix for Packed<B> {
    const PANEL: usize = LANES;
    type Input<'a> = QuantizedRows;

    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.width * BLOCK
    }

    fn size_in_bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    fn prepare(&self, x: &[f32]) -> QuantizedRows {
        QuantizedRows::new(x, self.columns())
    }

    #[inline(always)]
    fn multiply<S: Simd>(&self, s: S, panels: Range<usize>, x: &QuantizedRows, out: &Output<'_>) {
        for group in 0..x.groups() {
            let x = x.group(group);
            for panel in panels.clone() {
                let blocks = &self.blocks[panel * self.width..][..self.width];
                let to = Target { out, row: group * GROUP, column: panel * LANES };
                if x.rows == 1 {
                    // The constant lets the compiler keep the total in a register.
                    multiply_group(s, blocks, x, 1, to);
                } else {
                    multiply_group(s, blocks, x, x.rows, to);
                }
            }
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.blocks[row / LANES * self.width..][..self.width];
        for (out, block) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(panel) {
            *out = block.row(row % LANES);
        }
    }
}

/// Per row one multiply-add for each block, in their order, then one for each outlier, however many rows there are.
#[inline(always)]
fn multiply_group<S: Simd, B: PackedBlock>(s: S, blocks: &[B], x: RowGroup<'_>, rows: usize, to: Target<'_>) {
    let mut totals = [s.splat(0.0); GROUP];
    let totals = &mut totals[..rows];
    for (at, block) in blocks.iter().enumerate() {
        let unpacked = block.unpack(s);
        let values = &x.values[at * rows..][..rows];
        let scales = &x.scales[at * rows..][..rows];
        let sums = &x.sums[at * rows..][..rows];
        for row in 0..rows {
            let dots = block.dot(s, unpacked, &values[row], sums[row]);
            totals[row] = s.fma(dots, s.splat(scales[row]), totals[row]);
        }
    }
    for (row, &total) in totals.iter().enumerate() {
        let mut total = total;
        for outlier in &x.outliers[row] {
            let column = blocks[outlier.column / BLOCK].column(s, outlier.column % BLOCK);
            total = s.fma(column, s.splat(outlier.x), total);
        }
        to.out.write(s, to.row + row, to.column, total);
    }
}
