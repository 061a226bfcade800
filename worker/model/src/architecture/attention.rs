//! Grouped-query attention with rotary positions, and what architectures add to it.

use candle_core::{Result, Tensor};

use super::config::Config;
use super::loader::LayerLoader;
use crate::checkpoint::CheckpointError;
use eoscast_kernels::{AttentionSpan, Linear, PagedKv, RopeLayout, Rotation, paged_attention, rms_norm};

/// The attention of one layer.
pub(super) struct Attention {
    /// Query, key and value: one matrix, so that the three products share a pass.
    query_key_value: Linear,
    output: Linear,
    /// Widths of all query heads and of all key heads (or value heads) together.
    query_width: usize,
    key_width: usize,
    head_dim: usize,
    /// Factor of the scores.
    pub(super) scale: f32,
    pub(super) rope_layout: RopeLayout,
    /// Which of the decoder's rotary tables turns this layer.
    pub(super) rope: usize,
    /// Positions that a token sees, itself among them; all where there is none.
    pub(super) window: Option<usize>,
    /// Added to query, key and value.
    bias: Option<Tensor>,
    head_norms: Option<HeadNorms>,
}

/// Norms of each query head and of each key head, before they are turned.
struct HeadNorms {
    query: Tensor,
    key: Tensor,
    eps: f32,
}

impl Attention {
    /// Reads the matrices; biases and norms come with [`Self::with_bias`] and [`Self::with_head_norms`].
    pub(super) fn load(layer: &mut LayerLoader<'_>, config: &Config) -> std::result::Result<Self, CheckpointError> {
        let (queries, keys) = (config.query_width(), config.key_width());
        Ok(Self {
            query_key_value: layer.linear(&parts(config), config.hidden)?,
            output: layer.linear(&[("attn_output", config.hidden)], queries)?,
            query_width: queries,
            key_width: keys,
            head_dim: config.head_dim,
            scale: 1.0 / (config.head_dim as f32).sqrt(),
            rope_layout: RopeLayout::Half,
            rope: 0,
            window: None,
            bias: None,
            head_norms: None,
        })
    }

    /// Adds biases of query, key and value.
    pub(super) fn with_bias(
        mut self,
        layer: &mut LayerLoader<'_>,
        config: &Config,
    ) -> std::result::Result<Self, CheckpointError> {
        self.bias = Some(layer.bias(&parts(config))?);
        Ok(self)
    }

    /// Adds norms of the heads of query and key (Dehghani et al. 2023, <https://arxiv.org/abs/2302.05442>).
    pub(super) fn with_head_norms(
        mut self,
        layer: &mut LayerLoader<'_>,
        config: &Config,
    ) -> std::result::Result<Self, CheckpointError> {
        self.head_norms = Some(HeadNorms {
            query: layer.norm("attn_q_norm", config.head_dim)?,
            key: layer.norm("attn_k_norm", config.head_dim)?,
            eps: config.rms_norm_eps,
        });
        Ok(self)
    }

    /// Attends from the rows of `x` (`[rows, hidden]`), whose keys and values are written to `kv`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        rotations: &[Rotation],
        spans: &[AttentionSpan<'_>],
        kv: &mut PagedKv,
    ) -> Result<Tensor> {
        let (queries, keys) = (self.query_width, self.key_width);
        let mut x = self.query_key_value.forward(x)?;
        if let Some(bias) = &self.bias {
            x = x.broadcast_add(bias)?;
        }
        let mut query = x.narrow(1, 0, queries)?;
        let mut key = x.narrow(1, queries, keys)?;
        if let Some(norms) = &self.head_norms {
            query = rms_norm(&query, &norms.query, norms.eps)?;
            key = rms_norm(&key, &norms.key, norms.eps)?;
        }
        let rotation = &rotations[self.rope];
        let query = rotation.apply(&query, self.head_dim, self.rope_layout)?;
        let key = rotation.apply(&key, self.head_dim, self.rope_layout)?;
        let value = x.narrow(1, queries + keys, keys)?;
        let mixed = paged_attention(&query, &key, &value, kv, spans, self.scale, self.window)?;
        self.output.forward(&mixed)
    }
}

/// Matrices over the same input, and the outputs of each.
fn parts(config: &Config) -> [(&'static str, usize); 3] {
    [("attn_q", config.query_width()), ("attn_k", config.key_width()), ("attn_v", config.key_width())]
}
