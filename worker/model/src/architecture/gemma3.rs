//! Gemma 3 (text): most layers see a sliding window only, every sixth sees all; branches are normed before and after; heads
//! are normed; GELU gates; embedded tokens are scaled.
//!
//! Source: Gemma Team 2025, "Gemma 3 Technical Report", <https://arxiv.org/abs/2503.19786>.

use super::attention::Attention;
use super::config::Config;
use super::decoder::{Block, Decoder, PostNorms};
use super::definition::Architecture;
use super::feed_forward::FeedForward;
use super::loader::Loader;
use super::rotary::inverse_frequencies;
use crate::checkpoint::{Checkpoint, CheckpointError, HubConfig, HubConventions, Metadata, RopeScaling, positive};
use eoscast_kernels::Activation;

pub(super) const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    hub_name: "gemma3_text",
    hub_conventions: HubConventions {
        own_parts: PARTS,
        norms_add_one: true,
        is_tied_by_default: true,
        rope_base: 1_000_000.0,
        has_local_layers: true,
        ..HubConventions::LLAMA
    },
    load,
};

/// Gemma also norms the result of attention: the norm before the feed-forward layer has another name than Llama's.
const PARTS: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// Places of a layer's rotary table.
const GLOBAL_ROPE: usize = 0;
const LOCAL_ROPE: usize = 1;

/// One layer in so many is global, where the file does not say.
const PATTERN: usize = 6;

/// Layers of the one size (27B) whose scores are scaled by the width per head. GGUF files leave the scale out, and llama.cpp
/// tells the size by its layers, too.
const LAYERS_SCALED_BY_WIDTH: usize = 62;

/// What Gemma has beside the common sizes.
struct Gemma {
    /// Positions that a local layer sees; all layers are global where there is none.
    window: Option<usize>,
    layers: LayerKinds,
    local_rope_base: f32,
    attention_scale: f32,
}

/// Which layers see all.
enum LayerKinds {
    /// The last of every so many.
    Pattern(usize),
    /// By index.
    Listed(Vec<bool>),
}

impl LayerKinds {
    fn is_global(&self, layer: usize) -> bool {
        match self {
            Self::Pattern(period) => (layer + 1).is_multiple_of(*period),
            Self::Listed(global) => global.get(layer).copied().unwrap_or(false),
        }
    }
}

impl Gemma {
    fn from_gguf(metadata: Metadata<'_>, config: &Config) -> Result<Self, CheckpointError> {
        for key in ["gemma3.attn_logit_softcapping", "gemma3.final_logit_softcapping"] {
            if metadata.optional_f32(key)?.unwrap_or(0.0) != 0.0 {
                return Err(CheckpointError::UnsupportedFeature(format!("`{key}`")));
            }
        }
        let share = match config.layers {
            LAYERS_SCALED_BY_WIDTH => config.hidden / config.heads,
            _ => config.head_dim,
        };
        let pattern = metadata.optional_size("gemma3.attention.sliding_window_pattern")?;
        let window = match metadata.optional_uint("gemma3.attention.sliding_window")? {
            None | Some(0) => None,
            Some(_) => Some(metadata.size("gemma3.attention.sliding_window")?),
        };
        Ok(Self {
            window,
            layers: LayerKinds::Pattern(pattern.unwrap_or(PATTERN)),
            local_rope_base: metadata.positive("gemma3.rope.freq_base_swa", 10_000.0)?,
            attention_scale: 1.0 / (share as f32).sqrt(),
        })
    }

    fn from_hub(hub: &HubConfig) -> Result<Self, CheckpointError> {
        hub.check_activation(&["gelu_pytorch_tanh"])?;
        let layers = match hub.global_layers()? {
            Some(global) => LayerKinds::Listed(global),
            None => LayerKinds::Pattern(hub.sliding_window_pattern().unwrap_or(PATTERN)),
        };
        let scalar = positive("query_pre_attn_scalar", hub.query_pre_attn_scalar, 256.0)?;
        Ok(Self {
            window: Some(hub.sliding_window()?),
            layers,
            local_rope_base: hub.local_rope_base()?,
            attention_scale: 1.0 / scalar.sqrt(),
        })
    }
}

fn load(loader: &mut Loader<'_>) -> Result<Decoder, CheckpointError> {
    let config = Config::read(loader.checkpoint)?;
    let gemma = match loader.checkpoint {
        Checkpoint::Gguf(file) => Gemma::from_gguf(file.metadata(), &config)?,
        Checkpoint::Hub(folder) => Gemma::from_hub(&folder.config)?,
    };
    let local_frequencies = inverse_frequencies(config.head_dim, gemma.local_rope_base, &RopeScaling::None);
    let ropes = vec![config.inverse_frequencies(), local_frequencies];
    let decoder = Decoder::load(loader, &config, ropes, |index, layer| {
        let mut attention = Attention::load(layer, &config)?.with_head_norms(layer, &config)?;
        attention.scale = gemma.attention_scale;
        (attention.rope, attention.window) = match gemma.window.filter(|_| !gemma.layers.is_global(index)) {
            None => (GLOBAL_ROPE, None),
            window => (LOCAL_ROPE, window),
        };
        Ok(Block {
            attention_norm: layer.norm("attn_norm", config.hidden)?,
            attention,
            feed_forward_norm: layer.norm("ffn_norm", config.hidden)?,
            feed_forward: FeedForward::load(layer, &config, Activation::GeluTanh)?,
            post_norms: Some(PostNorms {
                attention: layer.norm("post_attention_norm", config.hidden)?,
                feed_forward: layer.norm("post_ffw_norm", config.hidden)?,
            }),
        })
    })?;
    Ok(decoder.with_embedding_scale((config.hidden as f64).sqrt()))
}
