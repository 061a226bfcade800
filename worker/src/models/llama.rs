//! The Llama family: RMSNorm, rotary positions on adjacent pairs, grouped-query attention, SwiGLU.
//!
//! Source: Touvron et al. 2023, "LLaMA", <https://arxiv.org/abs/2302.13971>; tensor names and metadata keys as in the GGUF
//! specification. GGUF stores query and key weights permuted so that rotary pairs are adjacent.

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};

use super::gguf::{GgufError, GgufFile, Metadata};
use super::{CausalLm, FileError, KvShape, Rows};
use crate::kernels::{
    AttentionSpan, Compute, Linear, PagedKv, RopeLayout, Rotation, add_rms_norm, paged_attention, rms_norm, swiglu,
};

/// Sizes and constants of one model.
#[derive(Debug, Clone, Copy)]
struct Config {
    layers: usize,
    context_length: usize,
    hidden: usize,
    feed_forward: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rms_norm_eps: f32,
    rope_base: f32,
    /// Positions are divided by this (linear rope scaling); 1 for most models.
    rope_scale: f32,
}

impl Config {
    fn read(metadata: Metadata<'_>) -> Result<Self, FileError> {
        if metadata.optional_uint("llama.expert_count")?.unwrap_or(0) > 0 {
            return Err(FileError::UnsupportedFeature("mixture of experts (`llama.expert_count`)".to_owned()));
        }
        let hidden = metadata.size("llama.embedding_length")?;
        let heads = metadata.size("llama.attention.head_count")?;
        let kv_heads = metadata.optional_size("llama.attention.head_count_kv")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(GgufError::invalid("llama.attention.head_count_kv", "a divisor of the head count").into());
        }
        let head_dim = match metadata.optional_size("llama.attention.key_length")? {
            Some(length) => length,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(GgufError::invalid("llama.attention.head_count", "a divisor of the width").into()),
        };
        let rotated = metadata.optional_size("llama.rope.dimension_count")?.unwrap_or(head_dim);
        let values = metadata.optional_size("llama.attention.value_length")?.unwrap_or(head_dim);
        if rotated != head_dim || values != head_dim || head_dim % 2 != 0 {
            return Err(FileError::UnsupportedFeature(format!(
                "a head of {head_dim} dimensions with {rotated} rotated and {values} values"
            )));
        }
        Ok(Self {
            layers: metadata.size("llama.block_count")?,
            context_length: metadata.size("llama.context_length")?,
            hidden,
            feed_forward: metadata.size("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            rms_norm_eps: positive(metadata, "llama.attention.layer_norm_rms_epsilon", 1e-5)?,
            rope_base: positive(metadata, "llama.rope.freq_base", 10_000.0)?,
            rope_scale: rope_scale(metadata)?,
        })
    }

    /// Width of all query heads together.
    fn query_width(&self) -> Result<usize, GgufError> {
        let width = self.heads.checked_mul(self.head_dim);
        width.ok_or_else(|| GgufError::invalid("llama.attention.head_count", "a sane number of heads"))
    }

    /// Width of all key heads (or value heads) together.
    fn key_width(&self) -> Result<usize, GgufError> {
        Ok(self.query_width()? / (self.heads / self.kv_heads))
    }

    /// Angle per position of each rotary pair: base^(-2i/d) (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), divided by the
    /// file's own factors where it has them (Llama 3.1 stretches low frequencies that way).
    fn inverse_frequencies(&self, factors: Option<Vec<f32>>) -> Vec<f32> {
        let pairs = self.head_dim / 2;
        let factors = factors.unwrap_or_else(|| vec![1.0; pairs]);
        let frequency = |pair: usize| self.rope_base.powf(-((2 * pair) as f32) / self.head_dim as f32);
        (0..pairs).zip(factors).map(|(pair, factor)| frequency(pair) / factor / self.rope_scale).collect()
    }
}

fn positive(metadata: Metadata<'_>, key: &str, default: f32) -> Result<f32, GgufError> {
    let value = metadata.optional_f32(key)?.unwrap_or(default);
    if value > 0.0 { Ok(value) } else { Err(GgufError::invalid(key, "a positive number")) }
}

fn rope_scale(metadata: Metadata<'_>) -> Result<f32, FileError> {
    match metadata.optional_text("llama.rope.scaling.type")?.unwrap_or("none") {
        "none" => Ok(1.0),
        "linear" => Ok(positive(metadata, "llama.rope.scaling.factor", 1.0)?),
        other => Err(FileError::UnsupportedFeature(format!("rope scaling `{other}` (`llama.rope.scaling.type`)"))),
    }
}

struct Layer {
    attention_norm: Tensor,
    /// Query, key and value: one matrix, so that the three products share a pass.
    query_key_value: Linear,
    attention_output: Linear,
    feed_forward_norm: Tensor,
    /// Gate and up, likewise.
    gate_up: Linear,
    down: Linear,
}

impl Layer {
    fn load(file: &mut GgufFile, index: usize, config: &Config, compute: Compute) -> Result<Self, FileError> {
        let Config { hidden, feed_forward, .. } = *config;
        let (queries, keys) = (config.query_width()?, config.key_width()?);
        let mut matrices = |parts: &[(&str, usize)], inputs: usize| -> Result<Linear, FileError> {
            let weights = parts.iter().map(|(part, outputs)| {
                let bias = format!("blk.{index}.{part}.bias");
                if file.has_tensor(&bias) {
                    return Err(FileError::UnsupportedFeature(format!("a bias (tensor `{bias}`)")));
                }
                Ok(file.tensor(&format!("blk.{index}.{part}.weight"), &[*outputs, inputs])?)
            });
            Ok(Linear::stack(&weights.collect::<Result<Vec<_>, FileError>>()?, compute)?)
        };
        Ok(Self {
            query_key_value: matrices(&[("attn_q", queries), ("attn_k", keys), ("attn_v", keys)], hidden)?,
            attention_output: matrices(&[("attn_output", hidden)], queries)?,
            gate_up: matrices(&[("ffn_gate", feed_forward), ("ffn_up", feed_forward)], hidden)?,
            down: matrices(&[("ffn_down", hidden)], feed_forward)?,
            attention_norm: file.vector(&format!("blk.{index}.attn_norm.weight"), hidden)?,
            feed_forward_norm: file.vector(&format!("blk.{index}.ffn_norm.weight"), hidden)?,
        })
    }
}

/// A Llama-family model.
struct Llama {
    config: Config,
    embedding: Linear,
    layers: Vec<Layer>,
    output_norm: Tensor,
    /// Output matrix; `None` where it is the embedding.
    output: Option<Linear>,
    inverse_frequencies: Vec<f32>,
}

/// Reads the weights. Only adjacent-pair rotary models without biases and experts.
pub(super) fn load(
    file: &mut GgufFile,
    vocab_size: usize,
    compute: Compute,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Box<dyn CausalLm>, FileError> {
    let config = Config::read(file.metadata())?;
    let factors = match file.has_tensor("rope_freqs.weight") {
        true => Some(file.vector("rope_freqs.weight", config.head_dim / 2)?.to_vec1::<f32>()?),
        false => None,
    };
    let vocabulary = |file: &mut GgufFile, name: &str| -> Result<Linear, FileError> {
        let weight: QTensor = file.tensor(name, &[vocab_size, config.hidden])?;
        Ok(Linear::new(weight, compute)?)
    };
    let embedding = vocabulary(file, "token_embd.weight")?;
    let output = match file.has_tensor("output.weight") {
        true => Some(vocabulary(file, "output.weight")?),
        false => None,
    };
    let output_norm = file.vector("output_norm.weight", config.hidden)?;
    // Grows with the tensors found, not with the layers claimed.
    let mut layers = Vec::new();
    for index in 0..config.layers {
        progress(index, config.layers);
        layers.push(Layer::load(file, index, &config, compute)?);
    }
    progress(config.layers, config.layers);
    Ok(Box::new(Llama {
        inverse_frequencies: config.inverse_frequencies(factors),
        config,
        embedding,
        layers,
        output_norm,
        output,
    }))
}

impl Llama {
    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        rotation: &Rotation,
        spans: &[AttentionSpan<'_>],
        kv: &mut PagedKv,
    ) -> candle_core::Result<Tensor> {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let x = layer.query_key_value.forward(x)?;
        let query = rotation.apply(&x.narrow(1, 0, queries)?, head_dim, RopeLayout::Interleaved)?;
        let key = rotation.apply(&x.narrow(1, queries, keys)?, head_dim, RopeLayout::Interleaved)?;
        let value = x.narrow(1, queries + keys, keys)?;
        let mixed = paged_attention(&query, &key, &value, kv, spans, 1.0 / (head_dim as f32).sqrt())?;
        layer.attention_output.forward(&mixed)
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> candle_core::Result<Tensor> {
        let width = self.config.feed_forward;
        let x = layer.gate_up.forward(x)?;
        layer.down.forward(&swiglu(&x.narrow(1, 0, width)?, &x.narrow(1, width, width)?)?)
    }
}

impl CausalLm for Llama {
    fn kv_shape(&self) -> KvShape {
        KvShape { layers: self.config.layers, heads: self.config.kv_heads, head_dim: self.config.head_dim }
    }

    fn context_length(&self) -> usize {
        self.config.context_length
    }

    fn forward(&self, rows: &Rows<'_>, kv: &mut [PagedKv]) -> candle_core::Result<Tensor> {
        let eps = self.config.rms_norm_eps;
        let rotation = Rotation::new(rows.positions, &self.inverse_frequencies);
        let mut x = self.embedding.embed(rows.tokens)?;
        for (layer, kv) in self.layers.iter().zip(kv) {
            let normed = rms_norm(&x, &layer.attention_norm, eps)?;
            let attention = self.attention(layer, &normed, &rotation, rows.spans, kv)?;
            let (sum, normed) = add_rms_norm(&x, &attention, &layer.feed_forward_norm, eps)?;
            x = (sum + self.feed_forward(layer, &normed)?)?;
        }
        if rows.wanted.is_empty() {
            return Tensor::zeros((0, self.embedding.out_features()), DType::F32, &Device::Cpu);
        }
        let wanted = Tensor::new(rows.wanted, x.device())?;
        let x = rms_norm(&x.index_select(&wanted, 0)?, &self.output_norm, eps)?;
        self.output.as_ref().unwrap_or(&self.embedding).forward(&x)
    }
}
