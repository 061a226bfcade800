//! A Llama-family model small enough to write to a temporary file: random weights, a byte-level vocabulary, a chat template.

use std::path::Path;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use eoscast_kernels::Compute;
use eoscast_worker::runner::load::{LoadError, LoadedRunner, RunnerOptions, load};

pub(crate) const HIDDEN: usize = 64;
pub(crate) const FEED_FORWARD: usize = 96;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const LAYERS: usize = 2;
pub(crate) const BLOCK_SIZE: usize = 16;
pub(crate) const NUM_BLOCKS: usize = 64;
pub(crate) const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The content of a model file, to be changed before it is written.
pub(crate) struct TinyModel {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, QTensor)>,
}

impl TinyModel {
    /// Random weights of type `dtype`; norms in f32, as model files have them.
    pub(crate) fn new(dtype: GgmlDType) -> Self {
        Self::with_vocabulary(dtype, &vocabulary())
    }

    /// As [`Self::new`], with other tokens.
    pub(crate) fn with_vocabulary(dtype: GgmlDType, tokens: &[String]) -> Self {
        let vocab_size = tokens.len();
        let head_dim = HIDDEN / HEADS;
        let mut tensors = Vec::new();
        let mut seed = 1;
        let mut matrix = |name: String, rows: usize, columns: usize| {
            let scale = 1.0 / (columns as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns).map(|_| scale * uniform(&mut seed)).collect();
            let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
            (name, QTensor::quantize(&tensor, dtype).unwrap())
        };
        tensors.push(matrix("token_embd.weight".to_owned(), vocab_size, HIDDEN));
        for layer in 0..LAYERS {
            for (part, rows, columns) in [
                ("attn_q", HIDDEN, HIDDEN),
                ("attn_k", KV_HEADS * head_dim, HIDDEN),
                ("attn_v", KV_HEADS * head_dim, HIDDEN),
                ("attn_output", HIDDEN, HIDDEN),
                ("ffn_gate", FEED_FORWARD, HIDDEN),
                ("ffn_up", FEED_FORWARD, HIDDEN),
                ("ffn_down", HIDDEN, FEED_FORWARD),
            ] {
                tensors.push(matrix(format!("blk.{layer}.{part}.weight"), rows, columns));
            }
            tensors.push((format!("blk.{layer}.attn_norm.weight"), norm()));
            tensors.push((format!("blk.{layer}.ffn_norm.weight"), norm()));
        }
        tensors.push(("output_norm.weight".to_owned(), norm()));
        let text = |text: &str| Value::String(text.to_owned());
        let size = |size: usize| Value::U32(size as u32);
        let metadata = [
            ("general.architecture", text("llama")),
            ("llama.block_count", size(LAYERS)),
            ("llama.context_length", size(128)),
            ("llama.embedding_length", size(HIDDEN)),
            ("llama.feed_forward_length", size(FEED_FORWARD)),
            ("llama.attention.head_count", size(HEADS)),
            ("llama.attention.head_count_kv", size(KV_HEADS)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", size(head_dim)),
            ("llama.rope.freq_base", Value::F32(10_000.0)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            ("tokenizer.ggml.token_type", token_types(tokens)),
            ("tokenizer.ggml.merges", Value::Array(vec![text("t h"), text("th e"), text("1 2")])),
            ("tokenizer.ggml.bos_token_id", size(1)),
            ("tokenizer.ggml.eos_token_id", size(2)),
            ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
            ("tokenizer.chat_template", text(CHATML)),
        ];
        Self { metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(), tensors }
    }

    /// Sets a metadata value.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Removes a metadata value or tensor.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.metadata.retain(|(key, _)| key != name);
        self.tensors.retain(|(other, _)| other != name);
        self
    }

    /// Sets a tensor in f32.
    pub(crate) fn set_tensor(mut self, name: &str, tensor: &Tensor) -> Self {
        self.tensors.retain(|(other, _)| other != name);
        self.tensors.push((name.to_owned(), QTensor::quantize(tensor, GgmlDType::F32).unwrap()));
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        bytes(&self.metadata, &self.tensors)
    }

    /// The bytes of `count` files with some of the tensors each, as llama.cpp splits models.
    pub(crate) fn split(self, count: usize) -> Vec<Vec<u8>> {
        let tensors = Value::I32(self.tensors.len() as i32);
        let per_file = self.tensors.len().div_ceil(count);
        let file = |(index, part): (usize, &[(String, QTensor)])| {
            let mut metadata = if index == 0 { self.metadata.clone() } else { Vec::new() };
            metadata.extend([
                ("split.no".to_owned(), Value::U16(index as u16)),
                ("split.count".to_owned(), Value::U16(count as u16)),
                ("split.tensors.count".to_owned(), tensors.clone()),
            ]);
            bytes(&metadata, part)
        };
        self.tensors.chunks(per_file).enumerate().map(file).collect()
    }

    /// The file's bytes with another type of tensor `name`.
    pub(crate) fn bytes_with_type(&self, name: &str, number: u32) -> Vec<u8> {
        let mut bytes = self.bytes();
        let text = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
        let place = bytes.windows(text.len()).position(|window| window == text).unwrap();
        // Its dimensions are two numbers, after their count.
        let place = place + text.len() + 4 + 2 * 8;
        bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// Writes the file to a temporary path and loads it.
    pub(crate) fn load(&self, compute: Compute) -> Result<LoadedRunner, LoadError> {
        load_bytes(&self.bytes(), compute)
    }

    /// As [`Self::load`], onto a device.
    pub(crate) fn load_on(&self, compute: Compute, device: Device) -> Result<LoadedRunner, LoadError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.bytes()).unwrap();
        load(&RunnerOptions { device, ..options(file.path(), compute) }, &mut |_, _| ())
    }
}

fn bytes(metadata: &[(String, Value)], tensors: &[(String, QTensor)]) -> Vec<u8> {
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    write(&mut file, &metadata, &tensors).unwrap();
    file.into_inner()
}

/// Loads a model from the bytes of a file.
pub(crate) fn load_bytes(bytes: &[u8], compute: Compute) -> Result<LoadedRunner, LoadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    load(&options(file.path(), compute), &mut |_, _| ())
}

pub(crate) fn options(path: &Path, compute: Compute) -> RunnerOptions {
    RunnerOptions {
        path: path.to_owned(),
        name: "tiny".to_owned(),
        compute,
        device: Device::Cpu,
        block_size: BLOCK_SIZE,
        kv_tokens: BLOCK_SIZE * NUM_BLOCKS,
    }
}

/// The message of a model that must not load.
pub(crate) fn load_error(result: Result<LoadedRunner, LoadError>) -> String {
    result.err().expect("the model must be refused").to_string()
}

/// Three control tokens, the byte alphabet of GPT-2, and three merged tokens.
pub(crate) fn vocabulary() -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut shifted = 0x100..;
    let bytes = (0..256).map(|byte| if printable(byte) { byte } else { shifted.next().unwrap() });
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        .into_iter()
        .map(str::to_owned)
        .chain(bytes.map(|code| char::from_u32(code).unwrap().to_string()))
        .chain(["th", "the", "12"].map(str::to_owned))
        .collect()
}

fn token_types(tokens: &[String]) -> Value {
    let kind = |token: &String| Value::I32(if token.starts_with("<|") { 3 } else { 1 });
    Value::Array(tokens.iter().map(kind).collect())
}

fn norm() -> QTensor {
    let values: Vec<f32> = (0..HIDDEN).map(|index| 0.5 + index as f32 / HIDDEN as f32).collect();
    QTensor::quantize(&Tensor::new(values, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap()
}

/// Next number in -1..1 (xorshift64*).
pub(crate) fn uniform(seed: &mut u64) -> f32 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    let bits = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
    bits as f32 / (1u64 << 23) as f32 - 1.0
}
