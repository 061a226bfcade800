//! What a matrix product needs of a weight format, and the loop that all formats share.

use super::output::Output;
use super::pool::Pool;
use super::simd::{Kernel, Simd, dispatch};
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
    fn prepare<'a>(&self, x: &'a [f32]) -> Self::Input<'a>;
    /// Computes the output features of some panels for all rows of `x`. Implementations are `#[inline(always)]`.
    fn multiply<S: Simd>(&self, simd: S, panels: Range<usize>, x: &Self::Input<'_>, out: &Output<'_>);
    /// Writes the dequantised weights of one output feature.
    fn dequantize_row(&self, row: usize, out: &mut [f32]);
}

struct Multiply<'a, 'x, M: Matrix> {
    matrix: &'a M,
    panels: Range<usize>,
    x: &'a M::Input<'x>,
    out: &'a Output<'a>,
}

impl<M: Matrix> Kernel for Multiply<'_, '_, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.matrix.multiply(simd, self.panels, self.x, self.out);
    }
}

/// Writes `x` (rows of [`Matrix::columns`]) times the transposed matrix to `out` (rows of [`Matrix::rows`]).
pub(crate) fn multiply<M: Matrix>(matrix: &M, x: &[f32], out: &Output<'_>, pool: &Pool) {
    let input = matrix.prepare(x);
    let panels = matrix.rows().div_ceil(M::PANEL);
    // Enough tasks to even out the threads, few enough that a task reuses its rows from the cache.
    let size = (panels / (8 * pool.threads())).clamp(1, 8);
    pool.run(panels.div_ceil(size), &|task| {
        let panels = task * size..panels.min((task + 1) * size);
        dispatch(Multiply { matrix, panels, x: &input, out });
    });
}
