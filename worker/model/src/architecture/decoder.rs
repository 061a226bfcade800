//! A stack of attention and feed-forward layers over an embedding: what all our architectures are made of.

use candle_core::{DType, Result, Tensor};

use super::attention::Attention;
use super::causal_lm::{CausalLm, Forward, KvShape, Rows};
use super::config::Config;
use super::feed_forward::FeedForward;
use super::loader::{LayerLoader, Loader};
use crate::checkpoint::CheckpointError;
use eoscast_kernels::{Activation, Linear, PagedKv, Rotation, add_rms_norm, rms_norm};

/// A decoder-only model with its weights.
pub(crate) struct Decoder {
    embedding: Linear,
    /// Factor of the embedded tokens.
    embedding_scale: f64,
    blocks: Vec<Block>,
    output_norm: Tensor,
    /// None where the output layer is the embedding.
    output: Option<Linear>,
    /// Inverse frequencies of each rotary table.
    ropes: Vec<Vec<f32>>,
    rms_norm_eps: f32,
    kv_shape: KvShape,
    context_length: usize,
}

/// One layer: two residual branches, each normed before.
pub(super) struct Block {
    pub(super) attention_norm: Tensor,
    pub(super) attention: Attention,
    pub(super) feed_forward_norm: Tensor,
    pub(super) feed_forward: FeedForward,
    pub(super) post_norms: Option<PostNorms>,
}

impl Block {
    /// A layer with no norms but those before its branches, and a SiLU gate.
    pub(super) fn pre_norm(
        layer: &mut LayerLoader<'_>,
        config: &Config,
        attention: Attention,
    ) -> std::result::Result<Self, CheckpointError> {
        Ok(Self {
            attention_norm: layer.norm("attn_norm", config.hidden)?,
            attention,
            feed_forward_norm: layer.norm("ffn_norm", config.hidden)?,
            feed_forward: FeedForward::load(layer, config, Activation::Silu)?,
            post_norms: None,
        })
    }
}

/// Norms of what the branches give, before it is added.
pub(super) struct PostNorms {
    pub(super) attention: Tensor,
    pub(super) feed_forward: Tensor,
}

impl Decoder {
    /// Reads the weights; `block` reads a layer's, `ropes` are the tables that its layers choose from.
    pub(super) fn load(
        loader: &mut Loader<'_>,
        config: &Config,
        ropes: Vec<Vec<f32>>,
        mut block: impl FnMut(usize, &mut LayerLoader<'_>) -> std::result::Result<Block, CheckpointError>,
    ) -> std::result::Result<Self, CheckpointError> {
        let embedding = loader.vocabulary("token_embd.weight", config.hidden)?;
        let output = match loader.checkpoint.has_tensor("output.weight") {
            true => Some(loader.vocabulary("output.weight", config.hidden)?),
            false => None,
        };
        let output_norm = loader.checkpoint.vector("output_norm.weight", config.hidden, loader.device)?;
        // Grows with the tensors found, not with the layers claimed.
        let mut blocks = Vec::new();
        for index in 0..config.layers {
            (loader.progress)(index, config.layers);
            blocks.push(block(index, &mut loader.layer(index))?);
        }
        (loader.progress)(config.layers, config.layers);
        loader.checkpoint.check_all_read()?;
        Ok(Self {
            embedding,
            embedding_scale: 1.0,
            blocks,
            output_norm,
            output,
            ropes,
            rms_norm_eps: config.rms_norm_eps,
            kv_shape: KvShape { layers: config.layers, heads: config.kv_heads, head_dim: config.head_dim },
            context_length: config.context_length,
        })
    }

    /// Multiplies embedded tokens by `scale`.
    pub(super) fn with_embedding_scale(self, scale: f64) -> Self {
        Self { embedding_scale: scale, ..self }
    }
}

impl CausalLm for Decoder {
    fn kv_shape(&self) -> KvShape {
        self.kv_shape
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn hidden_size(&self) -> usize {
        self.embedding.in_features()
    }

    fn forward(&self, rows: &Rows<'_>, kv: &mut [PagedKv]) -> Result<Forward> {
        let eps = self.rms_norm_eps;
        let rotations: Vec<_> =
            self.ropes.iter().map(|frequencies| Rotation::new(rows.positions, frequencies)).collect();
        let mut x = self.embedding.embed(rows.tokens)?;
        if self.embedding_scale != 1.0 {
            x = (x * self.embedding_scale)?;
        }
        // Each branch is added where the next norm reads the sum: one pass over both.
        let mut norms = self.blocks.iter().map(|block| &block.attention_norm).chain([&self.output_norm]);
        let mut normed = match norms.next() {
            Some(norm) => rms_norm(&x, norm, eps)?,
            None => x.clone(),
        };
        let mut tapped = None;
        for (layer, ((block, kv), next_norm)) in (1..).zip(self.blocks.iter().zip(kv).zip(norms)) {
            let mut branch = block.attention.forward(&normed, &rotations, rows.spans, kv)?;
            if let Some(norms) = &block.post_norms {
                branch = rms_norm(&branch, &norms.attention, eps)?;
            }
            (x, normed) = add_rms_norm(&x, &branch, &block.feed_forward_norm, eps)?;
            let mut branch = block.feed_forward.forward(&normed)?;
            if let Some(norms) = &block.post_norms {
                branch = rms_norm(&branch, &norms.feed_forward, eps)?;
            }
            (x, normed) = add_rms_norm(&x, &branch, next_norm, eps)?;
            if rows.tapped_layer == Some(layer) {
                tapped = Some(x.clone());
            }
        }
        if rows.wanted.is_empty() {
            let logits = Tensor::zeros((0, self.embedding.out_features()), DType::F32, x.device())?;
            return Ok(Forward { logits, tapped: None });
        }
        let wanted = Tensor::new(rows.wanted, x.device())?;
        let logits = self.output.as_ref().unwrap_or(&self.embedding).forward(&normed.index_select(&wanted, 0)?)?;
        Ok(Forward { logits, tapped: tapped.map(|x| x.index_select(&wanted, 0)).transpose()? })
    }
}
