//! Sizes and constants that every decoder has, from either kind of file.

use super::rotary::inverse_frequencies;
use crate::checkpoint::{Checkpoint, CheckpointError, GgufError, HubConfig, Metadata, RopeScaling};

/// Sizes and constants of one model.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) layers: usize,
    /// Longest sequence that the model was trained for.
    pub(super) context_length: usize,
    pub(super) hidden: usize,
    pub(super) feed_forward: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) rms_norm_eps: f32,
    pub(super) rope_base: f32,
    pub(super) rope_scaling: RopeScaling,
}

impl Config {
    /// Reads and checks the sizes of a model of the checkpoint's architecture.
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self, CheckpointError> {
        let config = match checkpoint {
            Checkpoint::Gguf(file) => Self::from_gguf(file.metadata())?,
            Checkpoint::Hub(folder) => Self::from_hub(&folder.config, folder.conventions.rope_base)?,
        };
        let Self { heads, kv_heads, head_dim, .. } = config;
        if heads % kv_heads != 0 {
            let field = match checkpoint {
                Checkpoint::Gguf(_) => "attention.head_count_kv",
                Checkpoint::Hub(_) => "num_key_value_heads",
            };
            return Err(CheckpointError::UnsupportedFeature(format!(
                "`{field}` of {kv_heads} for {heads} query heads"
            )));
        }
        if head_dim % 2 != 0 {
            return Err(CheckpointError::UnsupportedFeature(format!("an odd head dimension of {head_dim}")));
        }
        if heads.checked_mul(head_dim).is_none() {
            return Err(CheckpointError::UnsupportedFeature(format!("{heads} heads of {head_dim} dimensions")));
        }
        Ok(config)
    }

    fn from_gguf(metadata: Metadata<'_>) -> Result<Self, CheckpointError> {
        let architecture = metadata.text("general.architecture")?;
        let key = |name: &str| format!("{architecture}.{name}");
        if metadata.optional_uint(&key("expert_count"))?.unwrap_or(0) > 0 {
            return Err(CheckpointError::UnsupportedFeature(format!("mixture of experts (`{}`)", key("expert_count"))));
        }
        let hidden = metadata.size(&key("embedding_length"))?;
        let heads = metadata.size(&key("attention.head_count"))?;
        let head_dim = match metadata.optional_size(&key("attention.key_length"))? {
            Some(length) => length,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(GgufError::invalid(key("attention.head_count"), "a divisor of the width").into()),
        };
        for name in ["rope.dimension_count", "attention.value_length"] {
            let found = metadata.optional_size(&key(name))?.unwrap_or(head_dim);
            if found != head_dim {
                let what = format!("`{}` of {found} beside a head dimension of {head_dim}", key(name));
                return Err(CheckpointError::UnsupportedFeature(what));
            }
        }
        let scaling = key("rope.scaling.type");
        let rope_scaling = match metadata.optional_text(&scaling)? {
            Some("none") => RopeScaling::None,
            // As llama.cpp: without a kind, a factor is linear.
            None | Some("linear") => match linear_factor(metadata, key)? {
                Some(factor) => RopeScaling::Linear(factor),
                None => RopeScaling::None,
            },
            Some(other) => return Err(RopeScaling::unsupported(other, &scaling)),
        };
        Ok(Self {
            layers: metadata.size(&key("block_count"))?,
            context_length: metadata.size(&key("context_length"))?,
            hidden,
            feed_forward: metadata.size(&key("feed_forward_length"))?,
            heads,
            kv_heads: metadata.optional_size(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim,
            rms_norm_eps: metadata.positive(&key("attention.layer_norm_rms_epsilon"), 1e-5)?,
            rope_base: metadata.positive(&key("rope.freq_base"), 10_000.0)?,
            rope_scaling,
        })
    }

    fn from_hub(config: &HubConfig, default_rope_base: f32) -> Result<Self, CheckpointError> {
        let (rope_base, rope_scaling) = config.rope(default_rope_base)?;
        Ok(Self {
            layers: config.num_hidden_layers()?,
            context_length: config.max_position_embeddings()?,
            hidden: config.hidden_size()?,
            feed_forward: config.intermediate_size()?,
            heads: config.num_attention_heads()?,
            kv_heads: config.num_key_value_heads()?,
            head_dim: config.head_dim()?,
            rms_norm_eps: config.rms_norm_eps()?,
            rope_base,
            rope_scaling,
        })
    }

    /// Width of all query heads together.
    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head_dim // checked in `read`
    }

    /// Width of all key heads (or value heads) together.
    pub(super) fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Turn per position of each rotary pair.
    pub(super) fn inverse_frequencies(&self) -> Vec<f32> {
        inverse_frequencies(self.head_dim, self.rope_base, &self.rope_scaling)
    }
}

/// By how much positions are compressed; older files use another name, and 0 for not at all.
fn linear_factor(metadata: Metadata<'_>, key: impl Fn(&str) -> String) -> Result<Option<f32>, GgufError> {
    for name in ["rope.scaling.factor", "rope.scale_linear"].map(key) {
        if metadata.optional_f32(&name)?.is_some_and(|factor| factor != 0.0) {
            return Ok(Some(metadata.positive(&name, 1.0)?));
        }
    }
    Ok(None)
}
