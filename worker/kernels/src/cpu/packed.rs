//! Quantised weights times quantised activations, for every format whose scales cover 32 weights or more.

use super::matrix::Matrix;
use super::output::{Output, Target};
use super::quantize::{ActivationInteger, GROUP_ROWS, QuantizedRows, RowGroup};
use crate::pool::Pool;
use crate::simd::{BLOCK, LANES, PanelKernel, Panels, Path};
use half::f16;
use std::borrow::Cow;
use std::ops::Range;

/// A block of eight weight rows as a file has it, interleaved for the kernel: one or several parts of [`BLOCK`] weights a row.
pub(crate) trait PackedBlock: Copy + Default + Sync {
    type Activation: ActivationInteger;
    /// Parts of a block.
    const PARTS: usize;
    /// Bytes of one row's block in a GGUF file.
    const FILE_BYTES: usize;

    /// Takes over row `row` (0..8) from a file block of [`PackedBlock::FILE_BYTES`].
    fn set_row(&mut self, row: usize, file: &[u8]);
    /// Weights of row `row` in a part.
    fn row(&self, row: usize, part: usize) -> [f32; BLOCK];
    /// Adds products of a part of each panel's block with `N` rows of activations to their totals. `#[inline(always)]`, as the
    /// method below.
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        simd: S,
        part: usize,
        x: Columns<'_, Self::Activation, N>,
        totals: &mut [S::F32; N],
    );
    /// Weight `k` (0..32) of a part of each row.
    #[inline(always)]
    fn column<S: Panels<P>, const P: usize>(blocks: [&Self; P], simd: S, part: usize, k: usize) -> S::F32 {
        simd.load(|panel| {
            let mut column = [0.0; LANES];
            for row in 0..LANES {
                column[row] = blocks[panel].row(row, part)[k];
            }
            column
        })
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
const PREFETCHED_BLOCKS: usize = 12;

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

    fn multiply(&self, path: Path, panels: Range<usize>, x: &QuantizedRows<B::Activation>, out: &Output<'_>) {
        path.run(Multiply { matrix: self, panels, x, out });
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

/// See [`Matrix::multiply`].
struct Multiply<'a, B: PackedBlock> {
    matrix: &'a Packed<B>,
    panels: Range<usize>,
    x: &'a QuantizedRows<B::Activation>,
    out: &'a Output<'a>,
}

impl<B: PackedBlock> PanelKernel for Multiply<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Panels<P>, const P: usize>(self, s: S) {
        let Self { matrix: Packed { blocks, width, .. }, panels, x, out } = self;
        for (index, x) in x.groups.iter().enumerate() {
            for first in panels.clone().step_by(P) {
                // In the place of one too many the last comes again.
                let mut from = [&blocks[..0]; P];
                for panel in 0..P {
                    from[panel] = &blocks[(first + panel).min(panels.end - 1) * width..];
                }
                // Later groups find the blocks in the cache.
                let blocks = Blocks { panels: from, width: *width, cold: index == 0 };
                let real = P.min(panels.end - first);
                let to = Target { out, row: index * GROUP_ROWS, column: first * LANES };
                match x.rows {
                    1 => multiply_group::<S, B, P, 1>(s, blocks, real, x, to),
                    2 => multiply_group::<S, B, P, 2>(s, blocks, real, x, to),
                    3 => multiply_group::<S, B, P, 3>(s, blocks, real, x, to),
                    4 => multiply_group::<S, B, P, 4>(s, blocks, real, x, to),
                    5 => multiply_group::<S, B, P, 5>(s, blocks, real, x, to),
                    6 => multiply_group::<S, B, P, 6>(s, blocks, real, x, to),
                    7 => multiply_group::<S, B, P, 7>(s, blocks, real, x, to),
                    _ => multiply_group::<S, B, P, GROUP_ROWS>(s, blocks, real, x, to),
                }
            }
        }
    }
}

/// Blocks of `P` panels, each from its first on.
#[derive(Clone, Copy)]
struct Blocks<'a, B, const P: usize> {
    panels: [&'a [B]; P],
    /// Blocks of a panel.
    width: usize,
    /// Not read before.
    cold: bool,
}

impl<'a, B, const P: usize> Blocks<'a, B, P> {
    #[inline(always)]
    fn at(&self, at: usize) -> [&'a B; P] {
        let mut blocks = [&self.panels[0][at]; P];
        for panel in 1..P {
            blocks[panel] = &self.panels[panel][at];
        }
        blocks
    }
}

/// Per row the products of each block, in their order, then of each outlier, however many rows there are. The first `real` panels
/// count.
#[inline(always)]
fn multiply_group<S: Panels<P>, B: PackedBlock, const P: usize, const N: usize>(
    s: S,
    blocks: Blocks<'_, B, P>,
    real: usize,
    x: &RowGroup<B::Activation>,
    to: Target<'_>,
) {
    let (values, scales, sums) = (x.values.as_chunks().0, x.scales.as_chunks().0, x.sums.as_chunks().0);
    let mut totals = [s.splat(0.0); N];
    for at in 0..blocks.width {
        if blocks.cold {
            // Behind its end each goes on in the panel that comes after all `P`.
            let next = at + PREFETCHED_BLOCKS;
            let next = if next < blocks.width { next } else { next + (P - 1) * blocks.width };
            for panel in 0..P {
                if let Some(block) = blocks.panels[panel].get(next) {
                    s.prefetch(block);
                }
            }
        }
        for part in 0..B::PARTS {
            let of = at * B::PARTS + part;
            let x = Columns { values: &values[of], scales: &scales[of], sums: &sums[of] };
            B::add_products(blocks.at(at), s, part, x, &mut totals);
        }
    }
    for (row, &total) in totals.iter().enumerate() {
        let mut total = total;
        for outlier in &x.outliers[row * B::Activation::OUTLIERS..][..B::Activation::OUTLIERS] {
            let (block, k) = (outlier.column / BLOCK, outlier.column % BLOCK);
            let column = B::column(blocks.at(block / B::PARTS), s, block % B::PARTS, k);
            total = s.fma(column, s.splat(outlier.x), total);
        }
        for panel in 0..real {
            to.out.write(to.row + row, to.column + panel * LANES, s.panel(total, panel));
        }
    }
}
