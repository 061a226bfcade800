//! Causal attention over a paged KV cache, with grouped heads.
//!
//! A query's scores, weights and sum are computed position by position in the order of the sequence, so its result depends on
//! the sequence alone: not on the queries beside it, nor on the blocks' places in memory.

use super::attention_tile::{Cache, Query, TILE_QUERIES, Tile};
use super::kv::{KeysValues, KvBlocks, KvData, KvElement};
use super::output::Output;
use super::rows::Rows;
use crate::pool::Pool;
use crate::simd::dispatch;
use crate::span::{AttentionSpan, check_spans};
use crate::spent;
use candle_core::{Device, Result, Tensor};
use std::cell::RefCell;
use std::ops::Range;

/// As [`paged_attention`](crate::paged_attention).
pub(crate) fn paged_attention(
    q: &Tensor,
    k_new: &Tensor,
    v_new: &Tensor,
    kv: &mut KvBlocks,
    spans: &[AttentionSpan<'_>],
    scale: f32,
    window: Option<usize>,
) -> Result<Tensor> {
    let q = Rows::new("q", q)?;
    let shape = kv.shape;
    shape.check_query_width(q.width)?;
    let k = Rows::with_shape("k", k_new, q.count, shape.row_width())?;
    let v = Rows::with_shape("v", v_new, q.count, shape.row_width())?;
    check_spans(spans, q.count, &shape, scale, window)?;
    let (count, width) = (q.count, q.width);
    let read = spans.iter().map(|span| span.start + span.rows).sum::<usize>() * kv.bytes_per_token();
    let out = spent::attention(read, || {
        for span in spans {
            for row in 0..span.rows {
                let position = span.start + row;
                let block = span.block_table[position / shape.block_size] as usize;
                kv.write(block, position % shape.block_size, k.row(span.first_row + row), v.row(span.first_row + row));
            }
        }
        let attention = Attention { q, kv, spans, scale, window };
        match &attention.kv.data {
            KvData::F32(data) => attention.run(data),
            KvData::F16(data) => attention.run(data),
        }
    });
    Tensor::from_vec(out, (count, width), &Device::Cpu)
}

struct Attention<'a> {
    q: Rows<'a>,
    kv: &'a KvBlocks,
    spans: &'a [AttentionSpan<'a>],
    scale: f32,
    window: Option<usize>,
}

/// Some query heads of some rows, all on one KV head: a unit of work.
struct Task {
    span: usize,
    /// Rows of the span.
    rows: Range<usize>,
    heads: Range<usize>,
    kv_head: usize,
}

impl Attention<'_> {
    fn run<T: KvElement>(&self, data: &KeysValues<T>) -> Vec<f32> {
        let len = self.q.count * self.q.width;
        let mut buffer = Vec::with_capacity(len);
        let out = Output::new(&mut buffer.spare_capacity_mut()[..len], self.q.width, 0..self.q.width);
        let tasks = self.tasks();
        Pool::global().run(tasks.len(), &|index| self.attend(&tasks[index], data, &out));
        // SAFETY: the spans cover all rows and the tasks of a span all heads; each task wrote all elements of its heads.
        #[expect(unsafe_code, reason = "zeroing a buffer that is overwritten costs a pass over memory")]
        unsafe {
            buffer.set_len(len);
        }
        buffer
    }

    /// Tiles of at most [`TILE_QUERIES`] query vectors.
    fn tasks(&self) -> Vec<Task> {
        let group = self.q.width / self.kv.shape.head_dim / self.kv.shape.kv_heads;
        let tile_heads = group.min(TILE_QUERIES);
        let tile_rows = TILE_QUERIES / tile_heads;
        let mut tasks = Vec::new();
        for (span, rows) in self.spans.iter().map(|span| span.rows).enumerate() {
            for row in (0..rows).step_by(tile_rows) {
                for kv_head in 0..self.kv.shape.kv_heads {
                    for head in (0..group).step_by(tile_heads) {
                        let heads = kv_head * group + head..kv_head * group + group.min(head + tile_heads);
                        tasks.push(Task { span, rows: row..rows.min(row + tile_rows), heads, kv_head });
                    }
                }
            }
        }
        tasks
    }

    fn attend<T: KvElement>(&self, task: &Task, data: &KeysValues<T>, out: &Output<'_>) {
        thread_local! {
            static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        let span = &self.spans[task.span];
        let head_dim = self.kv.shape.head_dim;
        let mut vectors = [Query { q: &[], first: 0, positions: 0, row: 0, column: 0 }; TILE_QUERIES];
        let mut count = 0;
        for row in task.rows.clone() {
            for head in task.heads.clone() {
                let (positions, row, column) = (span.start + row + 1, span.first_row + row, head * head_dim);
                let first = self.window.map_or(0, |window| positions.saturating_sub(window));
                vectors[count] = Query { q: &self.q.row(row)[column..][..head_dim], first, positions, row, column };
                count += 1;
            }
        }
        let cache = Cache {
            data,
            table: span.block_table,
            block_size: self.kv.shape.block_size,
            block_len: self.kv.block_len(),
            head_start: task.kv_head * self.kv.shape.block_size * head_dim,
            head_dim,
        };
        SCRATCH.with_borrow_mut(|scratch| {
            dispatch(Tile { cache, queries: &vectors[..count], scale: self.scale, scratch, out });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normals;
    use crate::{CacheShape, KvType, PagedKv, paged_attention};
    use proptest::prelude::*;

    /// One sequence: its operands for every position.
    struct Sequence {
        q: Vec<f32>,
        k: Vec<f32>,
        v: Vec<f32>,
        len: usize,
    }

    #[derive(Debug, Clone, Copy)]
    struct Shape {
        group: usize,
        kv_heads: usize,
        head_dim: usize,
        block_size: usize,
        kv_type: KvType,
        window: Option<usize>,
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let kv_type = prop_oneof![Just(KvType::F32), Just(KvType::F16)];
        let window = prop::option::of(1usize..50);
        (1usize..9, 1usize..3, 1usize..5, 1usize..3, kv_type, window).prop_map(
            |(group, kv_heads, eighths, strips, kv_type, window)| {
                let (head_dim, block_size) = (8 * eighths, 16 * strips);
                Shape { group, kv_heads, head_dim, block_size, kv_type, window }
            },
        )
    }

    impl Sequence {
        fn random(shape: Shape, len: usize, seed: u64) -> Self {
            let kv = len * shape.kv_heads * shape.head_dim;
            let (q, k, v) = (normals(kv * shape.group, seed), normals(kv, seed ^ 1), normals(kv, seed ^ 2));
            Self { q, k, v, len }
        }

        /// The textbook formula, position by position.
        fn plain(&self, shape: Shape, scale: f64) -> Vec<f64> {
            let Shape { group, kv_heads, head_dim, window, .. } = shape;
            let heads = group * kv_heads;
            let mut out = Vec::new();
            for row in 0..self.len {
                for head in 0..heads {
                    let q = &self.q[(row * heads + head) * head_dim..][..head_dim];
                    let of = |x: &[f32], p: usize, d: usize| f64::from(x[(p * kv_heads + head / group) * head_dim + d]);
                    let score =
                        |p: usize| (0..head_dim).map(|d| f64::from(q[d]) * of(&self.k, p, d)).sum::<f64>() * scale;
                    let seen = |p: usize| window.is_none_or(|window| p + window > row);
                    let weights: Vec<f64> = (0..=row).map(|p| if seen(p) { score(p).exp() } else { 0.0 }).collect();
                    let mass: f64 = weights.iter().sum();
                    out.extend(
                        (0..head_dim).map(|d| (0..=row).map(|p| weights[p] * of(&self.v, p, d)).sum::<f64>() / mass),
                    );
                }
            }
            out
        }
    }

    /// Runs sequences through one cache, `chunks[step][sequence]` rows at a time, and returns each sequence's result.
    fn run(
        shape: Shape,
        sequences: &[Sequence],
        chunks: &[Vec<usize>],
        tables: &[Vec<u32>],
        blocks: usize,
    ) -> Vec<Vec<f32>> {
        let Shape { group, kv_heads, head_dim, block_size, kv_type, window } = shape;
        let mut kv = PagedKv::new(kv_type, CacheShape { num_blocks: blocks, block_size, kv_heads, head_dim }).unwrap();
        let mut starts = vec![0; sequences.len()];
        let mut results = vec![Vec::new(); sequences.len()];
        for chunk in chunks {
            let (mut q, mut k, mut v, mut spans) = (vec![], vec![], vec![], vec![]);
            let mut first_row = 0;
            for (index, &rows) in chunk.iter().enumerate() {
                let (start, sequence) = (starts[index], &sequences[index]);
                let part =
                    |x: &[f32]| x[start * x.len() / sequence.len..(start + rows) * x.len() / sequence.len].to_vec();
                q.extend(part(&sequence.q));
                k.extend(part(&sequence.k));
                v.extend(part(&sequence.v));
                spans.push(AttentionSpan { first_row, rows, start, block_table: &tables[index] });
                first_row += rows;
                starts[index] += rows;
            }
            let tensor = |x: Vec<f32>, heads| Tensor::from_vec(x, (first_row, heads, head_dim), &Device::Cpu).unwrap();
            let (q, k, v) = (tensor(q, group * kv_heads), tensor(k, kv_heads), tensor(v, kv_heads));
            let out = paged_attention(&q, &k, &v, &mut kv, &spans, 0.3, window).unwrap().to_vec2::<f32>().unwrap();
            for (result, span) in results.iter_mut().zip(&spans) {
                result.extend(out[span.first_row..span.first_row + span.rows].concat());
            }
        }
        results
    }

    /// Tables over disjoint blocks, in reverse order or interleaved.
    fn tables(shape: Shape, sequences: &[Sequence], reversed: bool) -> (Vec<Vec<u32>>, usize) {
        let needed = sequences.iter().map(|s| s.len.div_ceil(shape.block_size)).max().unwrap_or(0);
        let blocks = needed * sequences.len();
        let id = |sequence: usize, block: usize| {
            if reversed { blocks - 1 - sequence * needed - block } else { block * sequences.len() + sequence }
        };
        let table = |sequence| (0..needed).map(|block| id(sequence, block) as u32).collect();
        ((0..sequences.len()).map(table).collect(), blocks)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn attention_is_the_textbook_formula(shape in shapes(), len in 1usize..70, seed in any::<u64>()) {
            let sequence = [Sequence::random(shape, len, seed)];
            let (tables, blocks) = tables(shape, &sequence, true);
            let got = run(shape, &sequence, &[vec![len]], &tables, blocks);
            let tolerance = if shape.kv_type == KvType::F32 { 1e-5 } else { 5e-3 };
            for (got, want) in got[0].iter().zip(sequence[0].plain(shape, f64::from(0.3f32))) {
                prop_assert!((f64::from(*got) - want).abs() < tolerance, "{} {}", got, want);
            }
        }

        #[test]
        fn a_query_has_the_same_bits_however_it_is_batched_chunked_and_placed(
            shape in shapes(), lens in prop::collection::vec(1usize..60, 1..5), cut in 1usize..40, seed in any::<u64>(),
        ) {
            let sequences: Vec<_> =
                lens.iter().zip(seed..=u64::MAX).map(|(&len, seed)| Sequence::random(shape, len, seed)).collect();
            let (interleaved, blocks) = tables(shape, &sequences, false);
            let (reversed, _) = tables(shape, &sequences, true);
            let whole = run(shape, &sequences, std::slice::from_ref(&lens), &interleaved, blocks);
            let steps = lens.iter().max().unwrap().div_ceil(cut);
            let chunk = |step| lens.iter().map(|&len| cut.min(len.saturating_sub(step * cut))).collect();
            let chunks: Vec<_> = (0..steps).map(chunk).collect();
            prop_assert_eq!(&whole, &run(shape, &sequences, &chunks, &reversed, blocks));
            for (index, sequence) in sequences.into_iter().enumerate() {
                let alone = [sequence];
                let (table, blocks) = tables(shape, &alone, true);
                let got = run(shape, &alone, &vec![vec![1]; alone[0].len], &table, blocks);
                prop_assert_eq!(&whole[index], &got[0]);
            }
        }
    }

    #[test]
    fn spans_that_contradict_the_batch_or_the_cache_are_refused() {
        let mut kv =
            PagedKv::new(KvType::F32, CacheShape { num_blocks: 4, block_size: 16, kv_heads: 1, head_dim: 8 }).unwrap();
        let x = Tensor::zeros((3, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut error = |first_row, rows, start, block_table: &[u32]| {
            let span = AttentionSpan { first_row, rows, start, block_table };
            paged_attention(&x, &x, &x, &mut kv, &[span], 1.0, None).unwrap_err().to_string()
        };
        assert!(error(0, 3, 14, &[0]).contains("block table of span 0"));
        assert!(error(0, 3, 0, &[4]).contains("block 4 of 4"));
        assert!(error(1, 2, 0, &[0]).contains("must start at row"));
        assert!(error(0, 2, 0, &[0]).contains("cover"));
        assert!(error(0, 3, usize::MAX, &[0]).contains("block table"));
    }
}
