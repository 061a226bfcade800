//! What a matrix product needs of a weight format, and the loop that all formats share.

use super::output::Output;
use crate::pool::Pool;
use crate::simd::Path;
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
