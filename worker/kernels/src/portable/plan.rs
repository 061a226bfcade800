//! Where the spans of a batch lie in the cache.

use crate::cache_shape::CacheShape;
use crate::span::AttentionSpan;
use candle_core::{Device, Result, Tensor};
use std::ops::Range;

/// Cached positions, padding included, that a group of several spans gathers at most: bounds the memory of the copies.
const MAX_GATHERED: usize = 1 << 16;

/// Spans of the same number of rows, attended together: `spans` of them with `rows` each, over `positions` cached
/// positions, those of the longest span in whole blocks. Blocks that lie before a window are left out.
pub(crate) struct Group {
    pub(crate) spans: usize,
    pub(crate) rows: usize,
    pub(crate) positions: usize,
    /// Rows of the batch, `[spans * rows]`.
    pub(crate) batch_rows: Vec<u32>,
    /// Head rows of the cache, `[spans, kv_heads, positions]`; any for positions that the span lacks.
    pub(crate) head_rows: Tensor,
    /// Whether a row sees a position, `[spans, 1, rows, positions]`, as u8.
    pub(crate) visible: Tensor,
    /// Whether any row of the span sees a position, `[spans, 1, positions, 1]`, as u8.
    pub(crate) live: Tensor,
}

/// Slots of the batch's rows in their order, `[rows, 1]`.
pub(crate) fn slots(spans: &[AttentionSpan<'_>], block_size: usize, device: &Device) -> Result<Tensor> {
    let mut slots = Vec::new();
    for span in spans {
        for position in positions(span) {
            let (block, in_block) = (position as usize / block_size, position as usize % block_size);
            slots.push(span.block_table[block] * block_size as u32 + in_block as u32);
        }
    }
    Tensor::new(slots, device)?.unsqueeze(1)
}

/// Positions of the span's rows.
fn positions(span: &AttentionSpan<'_>) -> Range<u32> {
    span.start as u32..(span.start + span.rows) as u32
}

/// Groups the spans that have rows. With a window, above 0, a row sees that many positions at most.
pub(crate) fn groups(
    spans: &[AttentionSpan<'_>],
    window: Option<usize>,
    cache: &CacheShape,
    device: &Device,
) -> Result<Vec<Group>> {
    let spans: Vec<_> = spans.iter().map(|span| seen(span, window, cache.block_size)).collect();
    partition(&spans, cache.block_size).iter().map(|spans| Group::new(spans, window, cache, device)).collect()
}

/// The span without the blocks that none of its rows sees; positions count from the first block left.
fn seen<'a>(span: &AttentionSpan<'a>, window: Option<usize>, block_size: usize) -> AttentionSpan<'a> {
    let unseen = first_seen(span.start, window) / block_size;
    AttentionSpan { start: span.start - unseen * block_size, block_table: &span.block_table[unseen..], ..*span }
}

/// First position that a row at `position` sees.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// Spans of like rows, those of like length together: decodes beside decodes, not beside prefill chunks.
fn partition<'a>(spans: &[AttentionSpan<'a>], block_size: usize) -> Vec<Vec<AttentionSpan<'a>>> {
    let mut sorted: Vec<_> = spans.iter().copied().filter(|span| span.rows > 0).collect();
    sorted.sort_by_key(|span| (span.rows, blocks(span, block_size)));
    let mut groups: Vec<Vec<AttentionSpan<'a>>> = Vec::new();
    for span in sorted {
        // The longest so far, as they are sorted.
        let positions = blocks(&span, block_size) * block_size;
        match groups.last_mut() {
            Some(group) if group[0].rows == span.rows && (group.len() + 1) * positions <= MAX_GATHERED => {
                group.push(span)
            }
            _ => groups.push(vec![span]),
        }
    }
    groups
}

/// Blocks that hold the span's positions.
fn blocks(span: &AttentionSpan<'_>, block_size: usize) -> usize {
    (span.start + span.rows).div_ceil(block_size)
}

impl Group {
    fn new(spans: &[AttentionSpan<'_>], window: Option<usize>, cache: &CacheShape, device: &Device) -> Result<Self> {
        let CacheShape { block_size, kv_heads, .. } = *cache;
        let count = spans.len();
        let rows = spans.first().map_or(0, |span| span.rows);
        let longest = spans.iter().map(|span| blocks(span, block_size)).max().unwrap_or(0);

        // The cache numbers its head rows by block, position in the block, head.
        let block_rows = (block_size * kv_heads) as u32;
        let mut blocks_of_spans = Vec::with_capacity(count * longest);
        for span in spans {
            let table = &span.block_table[..blocks(span, block_size)];
            blocks_of_spans.extend(table.iter().map(|block| block * block_rows));
            blocks_of_spans.resize(blocks_of_spans.len().next_multiple_of(longest), 0);
        }
        let block_starts = Tensor::from_vec(blocks_of_spans, (count, 1, longest, 1), device)?;
        let in_block = Tensor::arange_step(0, block_rows, kv_heads as u32, device)?.reshape((1, 1, 1, block_size))?;
        let heads = Tensor::arange(0, kv_heads as u32, device)?.reshape((1, kv_heads, 1, 1))?;
        let head_rows = block_starts.broadcast_add(&in_block)?.broadcast_add(&heads)?;

        let cached = Tensor::arange(0, (longest * block_size) as u32, device)?;
        let last: Vec<u32> = spans.iter().flat_map(positions).collect();
        let first: Vec<u32> = last.iter().map(|&position| first_seen(position as usize, window) as u32).collect();
        let [first, last] = [first, last].map(|of_rows| Tensor::from_vec(of_rows, (count, 1, rows, 1), device));
        let (first, last) = (first?, last?);
        let between = |first: &Tensor, last: &Tensor, cached: &Tensor| {
            first.broadcast_le(cached)?.mul(&last.broadcast_ge(cached)?)
        };
        let batch_rows = |span: &AttentionSpan<'_>| span.first_row as u32..(span.first_row + span.rows) as u32;
        Ok(Self {
            spans: count,
            rows,
            positions: longest * block_size,
            batch_rows: spans.iter().flat_map(batch_rows).collect(),
            head_rows: head_rows.reshape((count, kv_heads, longest * block_size))?,
            visible: between(&first, &last, &cached)?,
            live: between(&first.narrow(2, 0, 1)?, &last.narrow(2, rows - 1, 1)?, &cached.unsqueeze(1)?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_before_the_window_are_not_gathered() {
        let decode = AttentionSpan { first_row: 0, rows: 1, start: 100, block_table: &[9, 8, 7, 6, 5, 4, 3] };
        for (window, start, block_table) in [
            (None, 100, [9, 8, 7, 6, 5, 4, 3].as_slice()),
            (Some(500), 100, &[9, 8, 7, 6, 5, 4, 3]),
            (Some(22), 36, &[5, 4, 3]),
            (Some(21), 20, &[4, 3]),
            (Some(1), 4, &[3]),
        ] {
            let seen = seen(&decode, window, 16);
            assert_eq!((seen.start, seen.block_table), (start, block_table), "{window:?}");
        }
    }

    proptest! {
        #[test]
        fn every_span_with_rows_is_in_one_group_of_its_like_that_fits(
            sizes in prop::collection::vec((0usize..3, 0usize..40_000), 0..20),
        ) {
            let table = vec![0; 3000];
            let span = |(first_row, &(rows, start))| AttentionSpan { first_row, rows, start, block_table: &table };
            let spans: Vec<_> = sizes.iter().enumerate().map(span).collect();
            let groups = partition(&spans, 16);
            let mut grouped: Vec<usize> = groups.iter().flatten().map(|span| span.first_row).collect();
            grouped.sort_unstable();
            let with_rows = spans.iter().filter(|span| span.rows > 0).map(|span| span.first_row);
            prop_assert_eq!(grouped, with_rows.collect::<Vec<_>>());
            for group in &groups {
                prop_assert!(group.iter().all(|span| span.rows == group[0].rows));
                let longest = group.iter().map(|span| blocks(span, 16)).max().unwrap();
                prop_assert!(group.len() == 1 || group.len() * longest * 16 <= MAX_GATHERED);
            }
        }
    }
}
