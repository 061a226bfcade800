//! `config.json` of a hub folder: what we use of it, and what would change the model if we ignored it.

use std::num::NonZeroU32;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::error::{CheckpointError, HubError};
use super::super::rope_scaling::RopeScaling;
use super::conventions::HubConventions;
use super::json::read_json;

/// Name of the file.
const FILE: &str = "config.json";

/// The fields that our architectures use. All are optional here: which of them must be there depends on the architecture.
#[derive(Debug, Deserialize)]
pub(crate) struct HubConfig {
    pub(crate) model_type: String,
    vocab_size: Option<NonZeroU32>,
    hidden_size: Option<NonZeroU32>,
    intermediate_size: Option<NonZeroU32>,
    num_hidden_layers: Option<NonZeroU32>,
    num_attention_heads: Option<NonZeroU32>,
    num_key_value_heads: Option<NonZeroU32>,
    head_dim: Option<NonZeroU32>,
    max_position_embeddings: Option<NonZeroU32>,
    rms_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<TokenIds>,

    rope_theta: Option<f32>,
    rope_scaling: Option<RopeParameters>,
    /// Newer files have both in one place, for Gemma once per kind of layer.
    rope_parameters: Option<RopeOfLayers>,
    rope_local_base_freq: Option<f32>,
    pub(crate) query_pre_attn_scalar: Option<f32>,
    sliding_window: Option<NonZeroU32>,
    sliding_window_pattern: Option<NonZeroU32>,
    #[serde(rename = "_sliding_window_pattern")]
    private_sliding_window_pattern: Option<NonZeroU32>,
    layer_types: Option<Vec<String>>,

    use_sliding_window: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_bidirectional_attention: Option<serde_json::Value>,
    partial_rotary_factor: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
    quantization_config: Option<IgnoredAny>,
}

/// One id or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenIds {
    /// The usual case.
    One(u32),
    /// The first is the main one.
    Several(Vec<u32>),
}

impl TokenIds {
    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RopeOfLayers {
    ByKind { full_attention: RopeParameters, sliding_attention: RopeParameters },
    All(RopeParameters),
}

#[derive(Debug, Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

fn missing(field: &str) -> CheckpointError {
    HubError::malformed(FILE, format!("`{field}` is missing")).into()
}

fn size(field: &str, value: Option<NonZeroU32>) -> Result<usize, CheckpointError> {
    value.map(to_usize).ok_or_else(|| missing(field))
}

fn to_usize(value: NonZeroU32) -> usize {
    value.get() as usize
}

/// A number that must be above zero.
pub(crate) fn positive(field: &str, value: Option<f32>, default: f32) -> Result<f32, CheckpointError> {
    let value = value.unwrap_or(default);
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(HubError::malformed(FILE, format!("`{field}` is {value}, not a positive number")).into())
}

impl HubConfig {
    /// Reads the file in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self, HubError> {
        read_json(folder, FILE)?.ok_or_else(|| HubError::malformed(FILE, "there is no such file"))
    }

    /// Ids that end a reply.
    pub(crate) fn eos_token_ids(&self) -> &[u32] {
        self.eos_token_id.as_ref().map_or(&[], TokenIds::as_slice)
    }

    /// Refuses what no architecture of ours has.
    pub(crate) fn check_features(&self, conventions: &HubConventions) -> Result<(), CheckpointError> {
        let refused = [
            (self.quantization_config.is_some(), "a checkpoint with `quantization_config`"),
            (self.use_sliding_window == Some(true), "`use_sliding_window`"),
            (self.attention_bias == Some(true) && !conventions.has_attention_bias, "`attention_bias`"),
            (self.mlp_bias == Some(true), "`mlp_bias`"),
            (self.use_bidirectional_attention.as_ref().is_some_and(is_set), "`use_bidirectional_attention`"),
            (self.partial_rotary_factor.is_some_and(|factor| factor != 1.0), "`partial_rotary_factor`"),
            (self.attn_logit_softcapping.is_some(), "`attn_logit_softcapping`"),
            (self.final_logit_softcapping.is_some(), "`final_logit_softcapping`"),
            (
                !conventions.has_local_layers && self.global_layers()?.is_some_and(|global| global.contains(&false)),
                "`layer_types`",
            ),
        ];
        match refused.iter().find(|(found, _)| *found) {
            Some((_, feature)) => Err(CheckpointError::UnsupportedFeature(format!("{feature} ({FILE})"))),
            None => Ok(()),
        }
    }

    /// Refuses another activation than the architecture's.
    pub(crate) fn check_activation(&self, names: &[&str]) -> Result<(), CheckpointError> {
        match self.hidden_activation.as_deref().or(self.hidden_act.as_deref()) {
            Some(found) if !names.contains(&found) => {
                let supported = names.join(", ");
                Err(CheckpointError::UnsupportedFeature(format!(
                    "`hidden_act` `{found}` ({FILE}; supported: {supported})"
                )))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn vocab_size(&self) -> Result<usize, CheckpointError> {
        size("vocab_size", self.vocab_size)
    }

    pub(crate) fn hidden_size(&self) -> Result<usize, CheckpointError> {
        size("hidden_size", self.hidden_size)
    }

    pub(crate) fn intermediate_size(&self) -> Result<usize, CheckpointError> {
        size("intermediate_size", self.intermediate_size)
    }

    pub(crate) fn num_hidden_layers(&self) -> Result<usize, CheckpointError> {
        size("num_hidden_layers", self.num_hidden_layers)
    }

    pub(crate) fn num_attention_heads(&self) -> Result<usize, CheckpointError> {
        size("num_attention_heads", self.num_attention_heads)
    }

    /// As many as there are query heads, where the file does not say.
    pub(crate) fn num_key_value_heads(&self) -> Result<usize, CheckpointError> {
        self.num_key_value_heads.map_or_else(|| self.num_attention_heads(), |heads| Ok(to_usize(heads)))
    }

    pub(crate) fn max_position_embeddings(&self) -> Result<usize, CheckpointError> {
        size("max_position_embeddings", self.max_position_embeddings)
    }

    /// The heads' own dimension, or their share of the width.
    pub(crate) fn head_dim(&self) -> Result<usize, CheckpointError> {
        let (hidden, heads) = (self.hidden_size()?, self.num_attention_heads()?);
        match self.head_dim {
            Some(head_dim) => Ok(to_usize(head_dim)),
            None if hidden % heads == 0 => Ok(hidden / heads),
            None => Err(HubError::malformed(FILE, "`num_attention_heads` does not divide `hidden_size`").into()),
        }
    }

    pub(crate) fn rms_norm_eps(&self) -> Result<f32, CheckpointError> {
        positive("rms_norm_eps", self.rms_norm_eps, 1e-6)
    }

    /// Positions that a local layer sees.
    pub(crate) fn sliding_window(&self) -> Result<usize, CheckpointError> {
        size("sliding_window", self.sliding_window)
    }

    /// One layer in so many is global.
    pub(crate) fn sliding_window_pattern(&self) -> Option<usize> {
        self.sliding_window_pattern.or(self.private_sliding_window_pattern).map(to_usize)
    }

    /// For each layer whether it is global, where the file lists the kinds.
    pub(crate) fn global_layers(&self) -> Result<Option<Vec<bool>>, CheckpointError> {
        let Some(kinds) = &self.layer_types else {
            return Ok(None);
        };
        if kinds.len() != self.num_hidden_layers()? {
            let problem = format!("`layer_types` has {} entries, `num_hidden_layers` is another number", kinds.len());
            return Err(HubError::malformed(FILE, problem).into());
        }
        let global = |kind: &String| match kind.as_str() {
            "full_attention" => Ok(true),
            "sliding_attention" => Ok(false),
            other => Err(CheckpointError::UnsupportedFeature(format!("layer type `{other}` ({FILE})"))),
        };
        kinds.iter().map(global).collect::<Result<_, _>>().map(Some)
    }

    /// Whether the output layer is the embedding, where the file says.
    pub(crate) fn tie_word_embeddings(&self) -> Option<bool> {
        self.tie_word_embeddings
    }

    /// Base and scaling of the rotary embedding (for Gemma: of its global layers). The base is `default` where the file has none.
    pub(crate) fn rope(&self, default: f32) -> Result<(f32, RopeScaling), CheckpointError> {
        let parameters = match &self.rope_parameters {
            Some(RopeOfLayers::All(parameters) | RopeOfLayers::ByKind { full_attention: parameters, .. }) => {
                Some(parameters)
            }
            None => self.rope_scaling.as_ref(),
        };
        let base = parameters.and_then(|parameters| parameters.rope_theta).or(self.rope_theta);
        let scaling = parameters.map_or(Ok(RopeScaling::None), RopeParameters::scaling)?;
        Ok((positive("rope_theta", base, default)?, scaling))
    }

    /// Base of the rotary embedding of Gemma's local layers.
    pub(crate) fn local_rope_base(&self) -> Result<f32, CheckpointError> {
        let own = match &self.rope_parameters {
            Some(RopeOfLayers::ByKind { sliding_attention, .. }) => {
                if sliding_attention.scaling()? != RopeScaling::None {
                    let what = format!("scaling of `rope_parameters.sliding_attention` ({FILE})");
                    return Err(CheckpointError::UnsupportedFeature(what));
                }
                sliding_attention.rope_theta
            }
            _ => None,
        };
        positive("rope_local_base_freq", own.or(self.rope_local_base_freq), 10_000.0)
    }
}

impl RopeParameters {
    fn scaling(&self) -> Result<RopeScaling, CheckpointError> {
        let number = |field: &str, value: Option<f32>| match value {
            Some(value) => positive(&format!("rope_scaling.{field}"), Some(value), value),
            None => Err(missing(&format!("rope_scaling.{field}"))),
        };
        match self.rope_type.as_ref().or(self.kind.as_ref()).map_or("default", String::as_str) {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear(number("factor", self.factor)?)),
            "llama3" => {
                let low_frequency = number("low_freq_factor", self.low_freq_factor)?;
                let high_frequency = number("high_freq_factor", self.high_freq_factor)?;
                if high_frequency <= low_frequency {
                    let problem = "`rope_scaling.high_freq_factor` is not above `rope_scaling.low_freq_factor`";
                    return Err(HubError::malformed(FILE, problem).into());
                }
                let original = self.original_max_position_embeddings;
                Ok(RopeScaling::Llama3 {
                    factor: number("factor", self.factor)?,
                    low_frequency,
                    high_frequency,
                    original_context: number("original_max_position_embeddings", original)?,
                })
            }
            other => Err(RopeScaling::unsupported(other, "rope_scaling.rope_type")),
        }
    }
}

/// Present, and neither null nor false.
fn is_set(value: &serde_json::Value) -> bool {
    !matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false))
}
