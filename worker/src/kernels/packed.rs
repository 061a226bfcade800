//! Quantised weights times quantised activations, for every format whose scales cover 32 weights or more.

use super::int8::BLOCK;
use super::matrix::Matrix;
use super::output::{Output, Target};
use super::pool::Pool;
use super::quantize::{Activation, GROUP, QuantizedRows, RowGroup};
use super::simd::{LANES, Simd};
use half::f16;
use std::borrow::Cow;
use std::ops::Range;

/// A block of eight weight rows as a file has it, interleaved for the kernel: one or several parts of [`BLOCK`] weights a row.
pub(crate) trait PackedBlock: Copy + Default + Sync {
    type Activation: Activation;
    /// Parts of a block.
    const PARTS: usize;
    /// Bytes of one row's block in a GGUF file.
    const FILE_BYTES: usize;

    /// Takes over row `row` (0..8) from a file block of [`PackedBlock::FILE_BYTES`].
    fn set_row(&mut self, row: usize, file: &[u8]);
    /// Weights of row `row` in a part.
    fn row(&self, row: usize, part: usize) -> [f32; BLOCK];
    /// Adds a part's products with `N` rows of activations to their totals. `#[inline(always)]`, as the method below.
    fn add_products<S: Simd, const N: usize>(
        &self,
        simd: S,
        part: usize,
        x: Columns<'_, Self::Activation, N>,
        totals: &mut [S::F32; N],
    );
    /// Weight `k` (0..32) of a part of each row.
    #[inline(always)]
    fn column<S: Simd>(&self, simd: S, part: usize, k: usize) -> S::F32 {
        let mut column = [0.0; LANES];
        for row in 0..LANES {
            column[row] = self.row(row, part)[k];
        }
        simd.load(&column)
    }
}

/// A block of activations of `N` rows: see [`RowGroup`].
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, A, const N: usize> {
    pub(crate) values: &'a [[A; BLOCK]; N],
    pub(crate) scales: &'a [f32; N],
    pub(crate) sums: &'a [f32; N],
}

/// Little-endian half at `at` of a file block, as stored and as a number.
pub(crate) fn half_at(file: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([file[at], file[at + 1]])
}

pub(crate) fn half_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Blocks between the one that is used and the one that is asked for: enough to hide the latency of memory from one row.
const AHEAD: usize = 12;

/// A matrix in panels of eight output features, each stored block by block.
pub(crate) struct Packed<B> {
    blocks: Vec<B>,
    rows: usize,
    /// Packed blocks in a row.
    width: usize,
}

impl<B: PackedBlock> Packed<B> {
    /// Repacks matrices of `columns` (whole blocks) input features as a file holds them, one below the other.
    pub(crate) fn new(files: &[Cow<'_, [u8]>], columns: usize) -> Self {
        let width = columns / (B::PARTS * BLOCK);
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
    type Input<'a> = QuantizedRows<B::Activation>;

    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.width * B::PARTS * BLOCK
    }

    fn size_in_bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    fn prepare(&self, x: &[f32], pool: &Pool) -> QuantizedRows<B::Activation> {
        QuantizedRows::new(x, self.columns(), pool)
    }

    #[inline(always)]
    fn multiply<S: Simd>(&self, s: S, panels: Range<usize>, x: &QuantizedRows<B::Activation>, out: &Output<'_>) {
        for (index, x) in x.groups.iter().enumerate() {
            for panel in panels.clone() {
                let rest = &self.blocks[panel * self.width..];
                let blocks = &rest[..self.width];
                // Later groups find the blocks in the cache.
                let upcoming = if index == 0 { rest.get(AHEAD..).unwrap_or_default() } else { &[] };
                let to = Target { out, row: index * GROUP, column: panel * LANES };
                match x.rows {
                    1 => multiply_group::<S, B, 1>(s, blocks, upcoming, x, to),
                    2 => multiply_group::<S, B, 2>(s, blocks, upcoming, x, to),
                    3 => multiply_group::<S, B, 3>(s, blocks, upcoming, x, to),
                    4 => multiply_group::<S, B, 4>(s, blocks, upcoming, x, to),
                    5 => multiply_group::<S, B, 5>(s, blocks, upcoming, x, to),
                    6 => multiply_group::<S, B, 6>(s, blocks, upcoming, x, to),
                    7 => multiply_group::<S, B, 7>(s, blocks, upcoming, x, to),
                    _ => multiply_group::<S, B, GROUP>(s, blocks, upcoming, x, to),
                }
            }
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.blocks[row / LANES * self.width..][..self.width];
        for (out, block) in out.as_chunks_mut::<BLOCK>().0.chunks_exact_mut(B::PARTS).zip(panel) {
            for (part, out) in out.iter_mut().enumerate() {
                *out = block.row(row % LANES, part);
            }
        }
    }
}

/// Per row the products of each block, in their order, then of each outlier, however many rows there are.
#[inline(always)]
fn multiply_group<S: Simd, B: PackedBlock, const N: usize>(
    s: S,
    blocks: &[B],
    upcoming: &[B],
    x: &RowGroup<B::Activation>,
    to: Target<'_>,
) {
    let (values, scales, sums) = (x.values.as_chunks().0, x.scales.as_chunks().0, x.sums.as_chunks().0);
    let mut totals = [s.splat(0.0); N];
    for (at, block) in blocks.iter().enumerate() {
        if let Some(block) = upcoming.get(at) {
            s.prefetch(block);
        }
        for part in 0..B::PARTS {
            let at = at * B::PARTS + part;
            let x = Columns { values: &values[at], scales: &scales[at], sums: &sums[at] };
            block.add_products(s, part, x, &mut totals);
        }
    }
    for (row, &total) in totals.iter().enumerate() {
        let mut total = total;
        for outlier in &x.outliers[row * B::Activation::OUTLIERS..][..B::Activation::OUTLIERS] {
            let (block, k) = (outlier.column / BLOCK, outlier.column % BLOCK);
            let column = blocks[block / B::PARTS].column(s, block % B::PARTS, k);
            total = s.fma(column, s.splat(outlier.x), total);
        }
        to.out.write(s, to.row + row, to.column, total);
    }
}
