//! Weights as `f32`: the reference path, and every format without an 8-bit kernel.

use super::matrix::Matrix;
use super::output::{Output, Target};
use super::simd::{LANES, Simd};
use std::ops::Range;

/// Two vectors of output features: with [`TILE`] rows that makes 12 accumulators, enough to hide the latency of a multiply-add.
const PANEL: usize = 2 * LANES;

/// Rows computed at a time.
const TILE: usize = 6;

/// Panels of [`PANEL`] output features, each stored input feature by input feature.
pub(crate) struct Dense {
    weights: Vec<[f32; PANEL]>,
    rows: usize,
    columns: usize,
}

impl Dense {
    /// Repacks row-major matrices of `columns` input features, one below the other.
    pub(crate) fn new(weights: &[Vec<f32>], columns: usize) -> Self {
        let rows = weights.iter().map(|part| part.len() / columns).sum::<usize>();
        let mut packed = vec![[0.0; PANEL]; rows.div_ceil(PANEL) * columns];
        for (row, weights) in weights.iter().flat_map(|part| part.chunks_exact(columns)).enumerate() {
            let panel = &mut packed[row / PANEL * columns..][..columns];
            for (lanes, &weight) in panel.iter_mut().zip(weights) {
                lanes[row % PANEL] = weight;
            }
        }
        Self { weights: packed, rows, columns }
    }
}

impl Matrix for Dense {
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

    fn prepare<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        x
    }

    #[inline(always)]
    fn multiply<S: Simd>(&self, s: S, panels: Range<usize>, x: &&[f32], out: &Output<'_>) {
        for (tile, x) in x.chunks(TILE * self.columns).enumerate() {
            for panel in panels.clone() {
                let weights = &self.weights[panel * self.columns..][..self.columns];
                let to = Target { out, row: tile * TILE, column: panel * PANEL };
                match x.len() / self.columns {
                    1 => multiply_tile::<S, 1>(s, weights, x, to),
                    2 => multiply_tile::<S, 2>(s, weights, x, to),
                    3 => multiply_tile::<S, 3>(s, weights, x, to),
                    4 => multiply_tile::<S, 4>(s, weights, x, to),
                    5 => multiply_tile::<S, 5>(s, weights, x, to),
                    _ => multiply_tile::<S, TILE>(s, weights, x, to),
                }
            }
        }
    }

    fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.weights[row / PANEL * self.columns..][..self.columns];
        for (out, lanes) in out.iter_mut().zip(panel) {
            *out = lanes[row % PANEL];
        }
    }
}

/// One multiply-add per weight, in the order of the input features, whatever `ROWS` is.
#[inline(always)]
fn multiply_tile<S: Simd, const ROWS: usize>(s: S, weights: &[[f32; PANEL]], x: &[f32], to: Target<'_>) {
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    let columns = weights.len();
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * columns..][..columns]);
    for (k, weights) in weights.iter().enumerate() {
        let [low, high] = halves(weights);
        let (low, high) = (s.load(low), s.load(high));
        for row in 0..ROWS {
            let x = s.splat(rows[row][k]);
            sums[row] = [s.fma(low, x, sums[row][0]), s.fma(high, x, sums[row][1])];
        }
    }
    for (row, [low, high]) in sums.iter().enumerate() {
        to.out.write(s, to.row + row, to.column, *low);
        to.out.write(s, to.row + row, to.column + LANES, *high);
    }
}

#[inline(always)]
fn halves(weights: &[f32; PANEL]) -> [&[f32; LANES]; 2] {
    let parts = weights.as_chunks::<LANES>().0;
    [&parts[0], &parts[1]]
}
