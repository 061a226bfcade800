//! [`AttentionSpan`]: which rows of a batch belong to which sequence.

use crate::cache_shape::CacheShape;
use candle_core::{Result, bail};

/// The rows of one sequence in a batch.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSpan<'a> {
    /// First row in the batch: the end of the span before.
    pub first_row: usize,
    /// Rows, at consecutive positions.
    pub rows: usize,
    /// Position of the first row; all positions before are in the cache.
    pub start: usize,
    /// Blocks that hold positions `0..start + rows`, in order.
    pub block_table: &'a [u32],
}

/// Checks that the spans lie in a batch of `rows` rows and in the cache, and that each row sees at least one position.
pub(crate) fn check_spans(
    spans: &[AttentionSpan<'_>],
    rows: usize,
    cache: &CacheShape,
    scale: f32,
    window: Option<usize>,
) -> Result<()> {
    if scale.is_nan() || scale <= 0.0 {
        bail!("attention: scale {scale} must be positive");
    }
    if window == Some(0) {
        bail!("attention: a window of 0 positions leaves nothing to see");
    }
    let mut covered = Some(0_usize);
    for (index, span) in spans.iter().enumerate() {
        if covered != Some(span.first_row) {
            bail!("attention: span {index} must start at row {covered:?}, where the one before ends");
        }
        covered = span.first_row.checked_add(span.rows);
        let blocks = span.start.checked_add(span.rows).map(|positions| positions.div_ceil(cache.block_size));
        if blocks.is_none_or(|blocks| blocks > span.block_table.len()) {
            bail!("attention: the block table of span {index} ends before its last position");
        }
        if let Some(block) = span.block_table.iter().find(|&&block| block as usize >= cache.num_blocks) {
            bail!("attention: span {index} names block {block} of {}", cache.num_blocks);
        }
    }
    if covered != Some(rows) {
        bail!("attention: the spans cover {covered:?} rows of {rows}");
    }
    Ok(())
}
