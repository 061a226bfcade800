//! Weights as `f32`, or as the halves of a file: the reference path, and every format without a kernel of its own.

use super::matrix::Matrix;
use super::output::{Output, Target};
use crate::pool::Pool;
#[cfg(test)]
use crate::simd::Plain;
use crate::simd::{Kernel, LANES, Path, Simd, dispatch};
use half::{bf16, f16};
use std::ops::Range;

/// Two vectors of output features: with [`TILE_ROWS`] rows that makes 12 accumulators, enough to hide the latency of a multiply-add.
const PANEL: usize = 2 * LANES;

/// Rows computed at a time.
const TILE_ROWS: usize = 6;

/// How a dense weight is stored.
pub(crate) trait Weight: Copy + Default + Sync {
    fn to_f32(self) -> f32;
    /// `#[inline(always)]`.
    fn load<S: Simd>(simd: S, weights: &[Self; LANES]) -> S::F32;
}

impl Weight for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, weights: &[f32; LANES]) -> S::F32 {
        s.load(weights)
    }
}

/// Bits of an `f16`.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct F16(pub(crate) u16);

impl Weight for F16 {
    fn to_f32(self) -> f32 {
        f16::from_bits(self.0).to_f32()
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, weights: &[F16; LANES]) -> S::F32 {
        let mut bits = [0; LANES];
        for lane in 0..LANES {
            bits[lane] = weights[lane].0;
        }
        s.load_f16(&bits)
    }
}

/// Bits of a `bf16`: the upper half of an `f32`.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

impl Weight for Bf16 {
    fn to_f32(self) -> f32 {
        bf16::from_bits(self.0).to_f32()
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, weights: &[Bf16; LANES]) -> S::F32 {
        let mut lanes = [0.0; LANES];
        for lane in 0..LANES {
            lanes[lane] = f32::from_bits(u32::from(weights[lane].0) << 16);
        }
        s.load(&lanes)
    }
}

/// Panels of [`PANEL`] output features, each stored input feature by input feature.
pub(crate) struct Dense<W> {
    weights: Vec<[W; PANEL]>,
    rows: usize,
    columns: usize,
}

impl<W: Weight> Dense<W> {
    /// Repacks row-major matrices of `columns` input features, one below the other.
    pub(crate) fn new(weights: &[Vec<W>], columns: usize) -> Self {
        let rows = weights.iter().map(|part| part.len() / columns).sum::<usize>();
        let mut packed = vec![[W::default(); PANEL]; rows.div_ceil(PANEL) * columns];
        for (row, weights) in weights.iter().flat_map(|part| part.chunks_exact(columns)).enumerate() {
            let panel = &mut packed[row / PANEL * columns..][..columns];
            for (lanes, &weight) in panel.iter_mut().zip(weights) {
                lanes[row % PANEL] = weight;
            }
        }
        Self { weights: packed, rows, columns }
    }
}

impl<W: Weight> Matrix for Dense<W> {
    const PANEL: usize = PANEL;
    type Input<'a> = &'a [f32];

    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn size_in_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    fn prepare<'a>(&self, x: &'a [f32], _: &Pool) -> &'a [f32] {
        x
    }

    fn multiply(&self, path: Path, panels: Range<usize>, x: &&[f32], out: &Output<'_>) {
        let kernel = Multiply { matrix: self, panels, x, out };
        match path {
            Path::Best => dispatch(kernel),
            #[cfg(test)]
            Path::OnePanel => dispatch(kernel),
            #[cfg(test)]
            Path::Plain => kernel.run(Plain),
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.weights[row / PANEL * self.columns..][..self.columns];
        for (out, lanes) in out.iter_mut().zip(panel) {
            *out = lanes[row % PANEL].to_f32();
        }
    }
}

/// See [`Matrix::multiply`].
struct Multiply<'a, W> {
    matrix: &'a Dense<W>,
    panels: Range<usize>,
    x: &'a [f32],
    out: &'a Output<'a>,
}

impl<W: Weight> Kernel for Multiply<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { matrix: Dense { weights, columns, .. }, panels, x, out } = self;
        for (tile, x) in x.chunks(TILE_ROWS * columns).enumerate() {
            for panel in panels.clone() {
                let weights = &weights[panel * columns..][..*columns];
                let to = Target { out, row: tile * TILE_ROWS, column: panel * PANEL };
                match x.len() / columns {
                    1 => multiply_tile::<S, W, 1>(s, weights, x, to),
                    2 => multiply_tile::<S, W, 2>(s, weights, x, to),
                    3 => multiply_tile::<S, W, 3>(s, weights, x, to),
                    4 => multiply_tile::<S, W, 4>(s, weights, x, to),
                    5 => multiply_tile::<S, W, 5>(s, weights, x, to),
                    _ => multiply_tile::<S, W, TILE_ROWS>(s, weights, x, to),
                }
            }
        }
    }
}

/// One multiply-add per weight, in the order of the input features, whatever `ROWS` is.
#[inline(always)]
fn multiply_tile<S: Simd, W: Weight, const ROWS: usize>(s: S, weights: &[[W; PANEL]], x: &[f32], to: Target<'_>) {
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    let columns = weights.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * columns..][..columns]);
    for (k, weights) in weights.iter().enumerate() {
        let parts = weights.as_chunks::<LANES>().0;
        let (low, high) = (W::load(s, &parts[0]), W::load(s, &parts[1]));
        for row in 0..ROWS {
            let x = s.splat(rows[row][k]);
            sums[row] = [s.fma(low, x, sums[row][0]), s.fma(high, x, sums[row][1])];
        }
    }
    for (row, [low, high]) in sums.iter().enumerate() {
        to.out.write(to.row + row, to.column, s.lanes(*low));
        to.out.write(to.row + row, to.column + LANES, s.lanes(*high));
    }
}
