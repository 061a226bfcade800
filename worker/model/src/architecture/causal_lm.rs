//! [`CausalLm`]: what a model computes, whatever its architecture.

use candle_core::Tensor;
use eoscast_kernels::{AttentionSpan, PagedKv};

/// The rows of one forward pass: sequences one after the other.
pub struct Rows<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Position of each row in its sequence.
    pub positions: &'a [u32],
    /// Which rows belong to which sequence.
    pub spans: &'a [AttentionSpan<'a>],
    /// Rows whose logits are wanted, ascending.
    pub wanted: &'a [u32],
    /// Layer, counted from 1, whose sum of residuals is wanted too.
    pub tapped_layer: Option<usize>,
}

/// What a forward pass gives for the rows wanted.
pub struct Forward {
    /// `[wanted, vocab_size]`, f32.
    pub logits: Tensor,
    /// The residual stream behind [`Rows::tapped_layer`], `[wanted, hidden_size]`, f32.
    pub tapped: Option<Tensor>,
}

/// Shape of the keys (and of the values) of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers, each with its own cache.
    pub layers: usize,
    /// Key/value heads.
    pub heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
}

/// A decoder-only language model with its weights.
pub trait CausalLm: Send {
    /// Shape of the cache that [`Self::forward`] needs.
    fn kv_shape(&self) -> KvShape;

    /// Longest sequence the model was trained for, in tokens.
    fn context_length(&self) -> usize;

    /// Numbers in a hidden state.
    fn hidden_size(&self) -> usize;

    /// Writes the rows' keys and values into `kv` (one cache a layer) and returns what is wanted.
    ///
    /// # Errors
    /// The tensor library failed.
    fn forward(&self, rows: &Rows<'_>, kv: &mut [PagedKv]) -> candle_core::Result<Forward>;
}
