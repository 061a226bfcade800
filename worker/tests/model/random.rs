//! Small random models of every architecture: as a GGUF file, as a hub folder, and as candle-transformers runs them.
//!
//! Weights lie on the grid of BF16, so that every type holds them exactly or nearly.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma3, llama, qwen2, qwen3};
use serde_json::json;
use tempfile::TempDir;

use super::tiny::{CHATML, TinyModel, uniform, vocabulary};

pub(crate) const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

const HIDDEN: usize = 64;
const FEED_FORWARD: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// Shorter than the contexts that tests run, and no multiple of what kernels work by.
pub(crate) const WINDOW: usize = 21;

/// A model, to be changed before it is written.
#[derive(Clone)]
pub(crate) struct RandomModel {
    architecture: &'static str,
    /// `config.json`.
    pub(crate) config: serde_json::Value,
    /// By the hub's names, in f32.
    pub(crate) weights: HashMap<String, Tensor>,
}

impl RandomModel {
    pub(crate) fn new(architecture: &'static str) -> Self {
        // Not the share of the width, except where candle's implementation knows no other.
        let head_dim = if matches!(architecture, "qwen3" | "gemma3") { 32 } else { HIDDEN / HEADS };
        let layers = if architecture == "gemma3" { 7 } else { 2 };
        let vocab_size = vocabulary().len();
        let mut weights = HashMap::new();
        let mut seed = 1 + ARCHITECTURES.iter().position(|name| *name == architecture).unwrap() as u64;
        let mut random = |name: String, shape: &[usize], scale: f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| scale * uniform(&mut seed)).collect();
            weights.insert(name, on_grid(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap(), DType::BF16));
        };
        let scale = |inputs: usize| 1.0 / (inputs as f32).sqrt();
        random("model.embed_tokens.weight".to_owned(), &[vocab_size, HIDDEN], scale(HIDDEN));
        if architecture == "qwen2" {
            random("lm_head.weight".to_owned(), &[vocab_size, HIDDEN], scale(HIDDEN));
        }
        for layer in 0..layers {
            let mut matrix = |part: &str, outputs: usize, inputs: usize| {
                random(format!("model.layers.{layer}.{part}.weight"), &[outputs, inputs], scale(inputs));
            };
            matrix("self_attn.q_proj", HEADS * head_dim, HIDDEN);
            matrix("self_attn.k_proj", KV_HEADS * head_dim, HIDDEN);
            matrix("self_attn.v_proj", KV_HEADS * head_dim, HIDDEN);
            matrix("self_attn.o_proj", HIDDEN, HEADS * head_dim);
            matrix("mlp.gate_proj", FEED_FORWARD, HIDDEN);
            matrix("mlp.up_proj", FEED_FORWARD, HIDDEN);
            matrix("mlp.down_proj", HIDDEN, FEED_FORWARD);
            let mut vector = |part: &str, length: usize| {
                random(format!("model.layers.{layer}.{part}"), &[length], 0.5);
            };
            vector("input_layernorm.weight", HIDDEN);
            vector("post_attention_layernorm.weight", HIDDEN);
            if architecture == "qwen2" {
                vector("self_attn.q_proj.bias", HEADS * head_dim);
                vector("self_attn.k_proj.bias", KV_HEADS * head_dim);
                vector("self_attn.v_proj.bias", KV_HEADS * head_dim);
            }
            if matches!(architecture, "qwen3" | "gemma3") {
                vector("self_attn.q_norm.weight", head_dim);
                vector("self_attn.k_norm.weight", head_dim);
            }
            if architecture == "gemma3" {
                vector("pre_feedforward_layernorm.weight", HIDDEN);
                vector("post_feedforward_layernorm.weight", HIDDEN);
            }
        }
        random("model.norm.weight".to_owned(), &[HIDDEN], 0.5);
        Self { architecture, config: config(architecture, layers, head_dim, vocab_size), weights }
    }

    fn size(&self, field: &str) -> usize {
        self.config[field].as_u64().unwrap() as usize
    }

    /// candle-transformers' own implementation of the architecture, in f32.
    pub(crate) fn reference(&self) -> Reference {
        let vb = VarBuilder::from_tensors(self.weights.clone(), DType::F32, &Device::Cpu);
        let config = self.config.clone();
        match self.architecture {
            "llama" => {
                let config: llama::LlamaConfig = serde_json::from_value(config).unwrap();
                let config = config.into_config(false);
                let cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
                Reference::Llama(llama::Llama::load(vb, &config).unwrap(), Box::new(cache))
            }
            "qwen2" => {
                Reference::Qwen2(qwen2::ModelForCausalLM::new(&serde_json::from_value(config).unwrap(), vb).unwrap())
            }
            "qwen3" => {
                Reference::Qwen3(qwen3::ModelForCausalLM::new(&serde_json::from_value(config).unwrap(), vb).unwrap())
            }
            _ => Reference::Gemma3(gemma3::Model::new(false, &serde_json::from_value(config).unwrap(), vb).unwrap()),
        }
    }

    /// A folder with the weights in `dtype`, in one file.
    pub(crate) fn folder(&self, dtype: DType) -> TempDir {
        let folder = self.texts();
        save(self.weights.iter(), dtype, &folder.path().join("model.safetensors"));
        folder
    }

    /// A folder with the weights in two files and an index.
    pub(crate) fn sharded_folder(&self) -> TempDir {
        let folder = self.texts();
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let shard_of = |name: &str| usize::from(name.contains("layers.1"));
        for (shard, file) in names.iter().enumerate() {
            let weights = self.weights.iter().filter(|(name, _)| shard_of(name) == shard);
            save(weights, DType::F32, &folder.path().join(file));
        }
        let map: HashMap<_, _> = self.weights.keys().map(|name| (name, names[shard_of(name)])).collect();
        write_json(folder.path(), "model.safetensors.index.json", &json!({ "metadata": {}, "weight_map": map }));
        folder
    }

    /// A folder without weights.
    fn texts(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_json(folder.path(), "config.json", &self.config);
        write_json(folder.path(), "tokenizer.json", &tokenizer());
        write_json(folder.path(), "generation_config.json", &json!({ "eos_token_id": [2, 0] }));
        let settings =
            json!({ "bos_token": "<|im_start|>", "eos_token": { "content": "<|im_end|>" }, "chat_template": CHATML });
        write_json(folder.path(), "tokenizer_config.json", &settings);
        folder
    }

    /// A GGUF file with matrices in `dtype`, named, permuted and shifted as llama.cpp's converter does.
    pub(crate) fn gguf(&self, dtype: GgmlDType) -> TinyModel {
        let mut file = TinyModel::new(GgmlDType::F32);
        file.tensors = self.weights.iter().map(|(name, tensor)| self.gguf_tensor(name, tensor, dtype)).collect();
        file.metadata.retain(|(key, _)| !key.starts_with("llama."));
        let size = |field: &str| Value::U32(self.size(field) as u32);
        let number = |field: &str| Value::F32(self.config[field].as_f64().unwrap() as f32);
        let mut set = |key: &str, value: Value| file.metadata.push((format!("{}.{key}", self.architecture), value));
        set("block_count", size("num_hidden_layers"));
        set("context_length", size("max_position_embeddings"));
        set("embedding_length", size("hidden_size"));
        set("feed_forward_length", size("intermediate_size"));
        set("attention.head_count", size("num_attention_heads"));
        set("attention.head_count_kv", size("num_key_value_heads"));
        set("attention.key_length", size("head_dim"));
        set("attention.value_length", size("head_dim"));
        set("attention.layer_norm_rms_epsilon", number("rms_norm_eps"));
        set("rope.freq_base", number("rope_theta"));
        if self.architecture == "gemma3" {
            set("attention.sliding_window", size("sliding_window"));
        }
        file.set("general.architecture", Value::String(self.architecture.to_owned()))
    }

    fn gguf_tensor(&self, name: &str, tensor: &Tensor, dtype: GgmlDType) -> (String, QTensor) {
        let mut tensor = tensor.clone();
        if self.architecture == "gemma3" && name.ends_with("norm.weight") {
            tensor = (tensor + 1.0).unwrap();
        }
        if self.architecture == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
            let (outputs, inputs) = tensor.dims2().unwrap();
            let half = self.size("head_dim") / 2;
            let halves = tensor.reshape((outputs / half / 2, 2, half, inputs)).unwrap();
            tensor = halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((outputs, inputs)).unwrap();
        }
        let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
        let gemma_norm = if self.architecture == "gemma3" { "post_attention_norm" } else { "ffn_norm" };
        let name = name
            .replace("model.layers.", "blk.")
            .replace("model.embed_tokens", "token_embd")
            .replace("model.norm", "output_norm")
            .replace("lm_head", "output")
            .replace("input_layernorm", "attn_norm")
            .replace("post_attention_layernorm", gemma_norm)
            .replace("pre_feedforward_layernorm", "ffn_norm")
            .replace("post_feedforward_layernorm", "post_ffw_norm")
            .replace("self_attn.o_proj", "attn_output")
            .replace("self_attn.", "attn_")
            .replace("mlp.", "ffn_")
            .replace("_proj", "");
        (name, QTensor::quantize(&tensor, dtype).unwrap())
    }
}

fn config(architecture: &str, layers: usize, head_dim: usize, vocab_size: usize) -> serde_json::Value {
    let mut config = json!({
        "model_type": if architecture == "gemma3" { "gemma3_text" } else { architecture },
        "vocab_size": vocab_size, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": head_dim, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "rope_theta": 10_000.0, "tie_word_embeddings": architecture != "qwen2",
        "eos_token_id": 2,
    });
    let own = match architecture {
        "llama" => json!({ "hidden_act": "silu" }),
        "qwen2" => {
            json!({ "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 64, "max_window_layers": 1 })
        }
        "qwen3" => json!({
            "hidden_act": "silu", "use_sliding_window": false, "sliding_window": null, "max_window_layers": 1,
            "attention_bias": false,
        }),
        _ => json!({
            "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false, "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10_000.0, "query_pre_attn_scalar": head_dim, "sliding_window": WINDOW,
            "sliding_window_pattern": 6, "final_logit_softcapping": null, "attn_logit_softcapping": null,
        }),
    };
    config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    config
}

/// The vocabulary of [`TinyModel`] in the hub's layout.
pub(crate) fn tokenizer() -> serde_json::Value {
    let tokens = vocabulary();
    let vocab: HashMap<&String, usize> = tokens.iter().enumerate().map(|(id, token)| (token, id)).collect();
    let added = tokens[..3].iter().enumerate().map(|(id, token)| {
        json!({ "id": id, "content": token, "special": true, "normalized": false, "single_word": false, "lstrip": false,
            "rstrip": false })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(), "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": [["t", "h"], ["th", "e"], ["1", "2"]] },
    })
}

pub(crate) fn write_json(folder: &Path, name: &str, value: &serde_json::Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

fn save<'a>(weights: impl Iterator<Item = (&'a String, &'a Tensor)>, dtype: DType, path: &Path) {
    let weights: HashMap<_, _> =
        weights.map(|(name, tensor)| (name.clone(), tensor.to_dtype(dtype).unwrap())).collect();
    candle_core::safetensors::save(&weights, path).unwrap();
}

/// The tensor, rounded to what `dtype` can hold.
fn on_grid(tensor: &Tensor, dtype: DType) -> Tensor {
    tensor.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()
}

/// A model of candle-transformers.
pub(crate) enum Reference {
    Llama(llama::Llama, Box<llama::Cache>),
    Qwen2(qwen2::ModelForCausalLM),
    Qwen3(qwen3::ModelForCausalLM),
    Gemma3(gemma3::Model),
}

impl Reference {
    /// Logits after `token` at `position`; positions before must have been computed.
    pub(crate) fn logits(&mut self, token: u32, position: usize) -> Vec<f32> {
        let input = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        let logits = match self {
            Self::Llama(model, cache) => model.forward(&input, position, cache),
            Self::Qwen2(model) => model.forward(&input, position),
            Self::Qwen3(model) => model.forward(&input, position),
            Self::Gemma3(model) => model.forward(&input, position),
        };
        logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}
