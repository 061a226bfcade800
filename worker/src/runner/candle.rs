//! The runner that computes: a model's weights and its paged KV cache.

use super::{ModelRunner, ModelSpec, RunnerError, SequenceSlice, check_batch};
use crate::kernels::{AttentionSpan, KvType, PagedKv};
use crate::models::{CausalLm, Rows};

/// Runs a [`CausalLm`] over ragged batches.
pub struct CandleRunner {
    spec: ModelSpec,
    model: Box<dyn CausalLm>,
    /// One cache a layer.
    kv: Vec<PagedKv>,
}

impl CandleRunner {
    /// Adds a cache of `spec.num_blocks` blocks to `model`.
    ///
    /// # Errors
    /// The cache cannot be allocated, or the kernels cannot work with its block size.
    pub fn new(spec: ModelSpec, model: Box<dyn CausalLm>, kv_type: KvType) -> candle_core::Result<Self> {
        let shape = model.kv_shape();
        let kv = (0..shape.layers)
            .map(|_| PagedKv::new(kv_type, spec.num_blocks, spec.block_size, shape.heads, shape.head_dim))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { spec, model, kv })
    }
}

impl ModelRunner for CandleRunner {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn forward(&mut self, batch: &[SequenceSlice<'_>], logits: &mut Vec<f32>) -> Result<(), RunnerError> {
        logits.clear();
        check_batch(&self.spec, batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let (mut tokens, mut positions, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut spans = Vec::with_capacity(batch.len());
        for slice in batch {
            let first_row = tokens.len();
            spans.push(AttentionSpan {
                first_row,
                rows: slice.tokens.len(),
                start: slice.start,
                block_table: slice.block_table,
            });
            tokens.extend_from_slice(slice.tokens);
            // Fits: `check_batch` bounds positions by the context, which is read as at most u32::MAX.
            positions.extend((slice.start..slice.end()).map(|position| position as u32));
            wanted.extend(slice.wanted().map(|index| (first_row + index) as u32));
        }
        let rows = Rows { tokens: &tokens, positions: &positions, spans: &spans, wanted: &wanted };
        *logits = self.model.forward(&rows, &mut self.kv)?.flatten_all()?.to_vec1()?;
        Ok(())
    }
}
