//! The runner that computes: a model's weights and its paged KV cache.

use super::sketch::{Sketch, SketchError, SketchOptions};
use super::{ModelRunner, ModelSpec, Output, RunnerError, SequenceSlice, check_batch};
use candle_core::Device;

use eoscast_kernels::{AttentionSpan, CacheShape, Compute, PagedKv};
use eoscast_model::{CausalLm, Forward, KvShape, Rows};

/// Runs a [`CausalLm`] over ragged batches.
pub struct CandleRunner {
    spec: ModelSpec,
    model: Box<dyn CausalLm>,
    /// One cache a layer.
    kv: Vec<PagedKv>,
    device: Device,
    sketch: Option<Sketch>,
}

impl CandleRunner {
    /// Adds a cache of `spec.num_blocks` blocks to `model`, whose weights are on `device`, in the precision that goes with
    /// `compute`.
    ///
    /// # Errors
    /// The cache cannot be allocated, or the kernels cannot work with its block size.
    pub fn new(
        spec: ModelSpec,
        model: Box<dyn CausalLm>,
        compute: Compute,
        device: &Device,
    ) -> candle_core::Result<Self> {
        let KvShape { layers, heads: kv_heads, head_dim } = model.kv_shape();
        let ModelSpec { num_blocks, block_size, .. } = spec;
        let shape = CacheShape { num_blocks, block_size, kv_heads, head_dim };
        let kv_type = compute.kv_type();
        let cache = |_| match compute.has_kernels(device) {
            true => PagedKv::new(kv_type, shape),
            false => PagedKv::on_device(device, kv_type, shape),
        };
        let kv = (0..layers).map(cache).collect::<candle_core::Result<_>>()?;
        Ok(Self { spec, model, kv, device: device.clone(), sketch: None })
    }

    /// Sketches the hidden states of the rows wanted, too.
    ///
    /// # Errors
    /// The model has no such layer, or hidden states of fewer numbers than the sketch would have.
    pub fn with_sketch(mut self, options: SketchOptions) -> Result<Self, SketchError> {
        let layers = self.model.kv_shape().layers;
        self.sketch = Sketch::new(options, layers, self.model.hidden_size(), &self.device)?;
        Ok(self)
    }
}

impl ModelRunner for CandleRunner {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn forward(&mut self, batch: &[SequenceSlice<'_>], output: &mut Output) -> Result<(), RunnerError> {
        output.clear();
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
        let tapped_layer = self.sketch.as_ref().map(Sketch::layer);
        let rows = Rows { tokens: &tokens, positions: &positions, spans: &spans, wanted: &wanted, tapped_layer };
        let Forward { logits, tapped } = self.model.forward(&rows, &mut self.kv)?;
        output.logits = logits.flatten_all()?.to_vec1()?;
        if let (Some(sketch), Some(tapped)) = (&self.sketch, tapped) {
            output.sketches = sketch.of(&tapped)?;
        }
        Ok(())
    }
}
