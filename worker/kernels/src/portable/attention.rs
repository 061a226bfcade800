//! Causal attention over a paged KV cache.

use super::kv::KvTensors;
use super::plan::{self, Group};
use crate::cache_shape::CacheShape;
use crate::span::{AttentionSpan, check_spans};
use candle_core::{Device, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;

/// As [`paged_attention`](crate::paged_attention).
pub(crate) fn paged_attention(
    q: &Tensor,
    k_new: &Tensor,
    v_new: &Tensor,
    kv: &KvTensors,
    spans: &[AttentionSpan<'_>],
    scale: f32,
    window: Option<usize>,
) -> Result<Tensor> {
    let device = q.device();
    let (q, k, v) = (q.contiguous()?.flatten_from(1)?, k_new.flatten_from(1)?, v_new.flatten_from(1)?);
    let (rows, width) = q.dims2()?;
    kv.shape.check_query_width(width)?;
    let group_width = kv.shape.row_width();
    for (name, new) in [("k", &k), ("v", &v)] {
        if new.dims() != [rows, group_width] {
            bail!("{name} has shape {:?}, wanted {rows} rows of {group_width}", new.dims());
        }
    }
    check_spans(spans, rows, &kv.shape, scale, window)?;
    kv.write(&plan::slots(spans, kv.shape.block_size, device)?, &k, &v)?;
    let (mut parts, mut order) = (Vec::new(), Vec::with_capacity(rows));
    for group in plan::groups(spans, window, &kv.shape, device)? {
        parts.push(attend(&q, kv, &group, scale)?);
        order.extend(group.batch_rows);
    }
    if parts.is_empty() {
        return Ok(q);
    }
    let mut place = vec![0u32; rows];
    for (at, row) in (0..).zip(order) {
        place[row as usize] = at;
    }
    Tensor::cat(&parts, 0)?.index_select(&Tensor::new(place, device)?, 0)
}

/// `[spans * rows, heads * head_dim]`
fn attend(q: &Tensor, kv: &KvTensors, group: &Group, scale: f32) -> Result<Tensor> {
    let device = q.device();
    let CacheShape { kv_heads, head_dim, .. } = kv.shape;
    let Group { spans, rows, positions, .. } = *group;
    let width = q.dim(1)?;
    let shared = width / (kv_heads * head_dim);
    let all_rows = spans * rows;

    // Query heads of one KV head are rows of one product.
    let q = q.index_select(&Tensor::new(group.batch_rows.as_slice(), device)?, 0)?;
    let q = (q * f64::from(scale))?.reshape((spans, rows, kv_heads, shared, head_dim))?;
    let q = q.permute((0, 2, 3, 1, 4))?.contiguous()?.reshape((spans, kv_heads, shared * rows, head_dim))?;

    let (keys, values) = kv.read(&group.head_rows)?;
    let scores = q.matmul(&keys.transpose(2, 3)?)?.reshape((spans, kv_heads * shared, rows, positions))?;
    let weights = softmax_last_dim(&keep(&scores, &group.visible, f32::NEG_INFINITY, device)?)?;
    // A weight of zero does not silence a value that is not a number, left there by another sequence.
    let values = keep(&values, &group.live, 0.0, device)?;
    let mixed = weights.reshape((spans, kv_heads, shared * rows, positions))?.matmul(&values)?;
    let mixed = mixed.reshape((spans, kv_heads, shared, rows, head_dim))?.permute((0, 3, 1, 2, 4))?;
    mixed.contiguous()?.reshape((all_rows, width))
}

/// `x` where `kept` (broadcast) is not zero, elsewhere `other`.
fn keep(x: &Tensor, kept: &Tensor, other: f32, device: &Device) -> Result<Tensor> {
    let other = Tensor::full(other, (), device)?.broadcast_as(x.shape())?;
    kept.broadcast_as(x.shape())?.where_cond(x, &other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{largest_difference, normals};
    use crate::{KvType, PagedKv};
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    struct Shape {
        shared: usize,
        kv_heads: usize,
        head_dim: usize,
        block_size: usize,
        kv_type: KvType,
        window: Option<usize>,
    }

    /// One sequence's worth of a tiny cache, for tests that look at one thing.
    const SMALL: Shape =
        Shape { shared: 2, kv_heads: 1, head_dim: 8, block_size: 16, kv_type: KvType::F32, window: None };

    fn shapes() -> impl Strategy<Value = Shape> {
        let kv_type = prop_oneof![Just(KvType::F32), Just(KvType::F16)];
        let window = prop::option::of(1usize..50);
        (1usize..5, 1usize..4, 1usize..4, 1usize..3, kv_type, window).prop_map(
            |(shared, kv_heads, eighths, strips, kv_type, window)| {
                let (head_dim, block_size) = (8 * eighths, 16 * strips);
                Shape { shared, kv_heads, head_dim, block_size, kv_type, window }
            },
        )
    }

    impl Shape {
        fn caches(self, blocks: usize) -> Result<[PagedKv; 2]> {
            let Self { kv_heads, head_dim, block_size, kv_type, .. } = self;
            let shape = CacheShape { num_blocks: blocks, block_size, kv_heads, head_dim };
            Ok([PagedKv::new(kv_type, shape)?, PagedKv::on_device(&Device::Cpu, kv_type, shape)?])
        }

        /// Query, key and value of some rows, side by side as a model's one product gives them.
        fn operands(self, rows: usize, seed: u64) -> Result<[Tensor; 3]> {
            let (key, query) = (self.kv_heads * self.head_dim, self.shared * self.kv_heads * self.head_dim);
            let width = query + 2 * key;
            let all = Tensor::from_vec(normals(rows * width, seed), (rows, width), &Device::Cpu)?;
            Ok([all.narrow(1, 0, query)?, all.narrow(1, query, key)?, all.narrow(1, query + key, key)?])
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn attention_is_that_of_the_kernel_whatever_the_chunks_and_the_places_of_blocks(
            shape in shapes(), lens in prop::collection::vec(1usize..70, 1..6), cut in 1usize..40, seed in any::<u64>(),
        ) {
            let count = lens.len();
            let needed = 70usize.div_ceil(shape.block_size);
            let table = |sequence| (0..needed).map(|block| ((needed - 1 - block) * count + sequence) as u32).collect();
            let tables: Vec<Vec<u32>> = (0..count).map(table).collect();
            let [mut blocks, mut tensors] = shape.caches(needed * count)?;
            let mut starts = vec![0; count];
            while starts != lens {
                let (mut spans, mut first_row) = (Vec::new(), 0);
                for (index, start) in starts.iter_mut().enumerate() {
                    // Some like their neighbour, some not.
                    let rows = (cut + index / 2).min(lens[index] - *start);
                    spans.push(AttentionSpan { first_row, rows, start: *start, block_table: &tables[index] });
                    (first_row, *start) = (first_row + rows, *start + rows);
                }
                let [q, k, v] = shape.operands(first_row, seed ^ first_row as u64)?;
                let want = crate::paged_attention(&q, &k, &v, &mut blocks, &spans, 0.3, shape.window)?;
                let got = crate::paged_attention(&q, &k, &v, &mut tensors, &spans, 0.3, shape.window)?;
                prop_assert_eq!(got.dims(), want.dims());
                let error = largest_difference(&got, &want)?;
                prop_assert!(error < 1e-5, "{}", error);
            }
        }
    }

    #[test]
    fn what_another_sequence_left_in_a_block_is_not_seen() -> Result<()> {
        let [mut blocks, mut tensors] = SMALL.caches(3)?;
        let [q, k, v] = SMALL.operands(16, 1)?;
        let broken = (&k / 0.0)?;
        let left = |first_row, block_table| AttentionSpan { first_row, rows: 8, start: 8, block_table };
        let spans = [left(0, &[0, 0]), left(8, &[0, 1])];
        crate::paged_attention(&q, &broken, &broken, &mut tensors, &spans, 1.0, None)?;
        // One sequence in a block of leftovers, the other longer, so that the first is padded.
        let spans = [
            AttentionSpan { first_row: 0, rows: 4, start: 0, block_table: &[0] },
            AttentionSpan { first_row: 4, rows: 12, start: 0, block_table: &[1] },
        ];
        let longer = [
            AttentionSpan { first_row: 0, rows: 1, start: 4, block_table: &[0] },
            AttentionSpan { first_row: 1, rows: 1, start: 12, block_table: &[1] },
        ];
        for spans in [&spans, &longer] {
            let rows = spans.iter().map(|span| span.rows).sum();
            let [q, k, v] = [&q, &k, &v].map(|x| x.narrow(0, 0, rows));
            let (q, k, v) = (q?, k?, v?);
            let want = crate::paged_attention(&q, &k, &v, &mut blocks, spans, 1.0, None)?;
            let got = crate::paged_attention(&q, &k, &v, &mut tensors, spans, 1.0, None)?;
            assert!(largest_difference(&got, &want)? < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn operands_that_contradict_the_batch_or_the_cache_are_refused() -> Result<()> {
        let [_, mut kv] = SMALL.caches(4)?;
        let [q, k, v] = SMALL.operands(3, 1)?;
        let mut error = |q: &Tensor, k: &Tensor, block_table: &[u32]| {
            let span = AttentionSpan { first_row: 0, rows: 3, start: 14, block_table };
            crate::paged_attention(q, k, &v, &mut kv, &[span], 1.0, None).unwrap_err().to_string()
        };
        assert!(error(&q, &k, &[0]).contains("block table of span 0"));
        assert!(error(&q, &k, &[0, 4]).contains("block 4 of 4"));
        assert!(error(&q, &q, &[0, 1]).contains("k has shape"));
        assert!(error(&q.narrow(1, 0, 12)?, &k, &[0, 1]).contains("q rows of 12"));
        Ok(())
    }
}
