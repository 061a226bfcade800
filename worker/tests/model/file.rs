//! Model files that are broken, hostile or of an unsupported kind are refused with an error that names what is wrong.

use super::tiny::{BLOCK_SIZE, HIDDEN, TinyModel, load_bytes, load_error, options};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Device, Tensor};
use eoscast_kernels::Compute;
use eoscast_worker::runner::ModelRunner;
use eoscast_worker::runner::load::load;
use proptest::prelude::*;

fn tiny() -> TinyModel {
    TinyModel::new(GgmlDType::F32)
}

fn refusal(model: &TinyModel) -> String {
    load_error(model.load(Compute::F32))
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

#[test]
fn the_spec_says_what_the_file_holds() {
    let model = TinyModel::new(GgmlDType::Q4_1).load(Compute::Quantized).unwrap();
    let spec = model.runner.spec();
    assert_eq!((spec.architecture.as_str(), spec.quantization.as_str()), ("llama", "Q4_1"));
    assert_eq!((spec.vocab_size, spec.context_length), (262, 128));
    assert_eq!(spec.eos_token_ids, [2, 0]);
    let layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96 + 2 * 64;
    assert_eq!(spec.parameters, 262 * 64 + 2 * layer + 64);
}

#[test]
fn progress_counts_up_to_the_last_layer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tiny().bytes()).unwrap();
    let mut seen = Vec::new();
    load(&options(file.path(), Compute::F32), &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!(seen, [(0, 2), (1, 2), (2, 2)]);
}

#[test]
fn an_unknown_architecture_is_refused_with_the_supported_ones() {
    let message = refusal(&tiny().set("general.architecture", text("mamba")));
    assert!(message.contains("mamba") && message.contains("supported: llama"), "{message}");
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_instead_of_guessed() {
    let message = refusal(&tiny().set("tokenizer.ggml.pre", text("klingon")));
    assert!(message.contains("klingon") && message.contains("smollm"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let message = load_error(load(&options("/nowhere/model.gguf".as_ref(), Compute::F32), &mut |_, _| ()));
    assert!(message.contains("/nowhere/model.gguf"), "{message}");
}

#[test]
fn missing_tensors_and_wrong_shapes_are_named() {
    let message = refusal(&tiny().without("blk.1.ffn_up.weight"));
    assert!(message.contains("`blk.1.ffn_up.weight` is missing"), "{message}");
    let wrong = Tensor::zeros(HIDDEN + 1, DType::F32, &Device::Cpu).unwrap();
    let message = refusal(&tiny().set_tensor("output_norm.weight", &wrong));
    assert!(message.contains("`output_norm.weight` has shape [65], expected [64]"), "{message}");
}

#[test]
fn absurd_metadata_is_named() {
    let max = Value::U32(u32::MAX);
    for (key, value, expected) in [
        ("llama.attention.head_count", Value::U32(0), "llama.attention.head_count"),
        ("llama.attention.head_count_kv", Value::U32(3), "attention.head_count_kv"),
        ("llama.attention.head_count", text("four"), "llama.attention.head_count"),
        ("llama.embedding_length", max.clone(), "llama.attention.head_count"),
        ("llama.feed_forward_length", max.clone(), "blk.0.ffn_gate.weight"),
        ("llama.block_count", max, "blk.2.attn_q.weight"),
        ("llama.context_length", Value::I32(-1), "llama.context_length"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "layer_norm_rms_epsilon"),
        ("llama.rope.freq_base", Value::F32(0.0), "llama.rope.freq_base"),
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.rope.dimension_count", Value::U32(6), "`llama.rope.dimension_count` of 6"),
        ("llama.expert_count", Value::U32(8), "llama.expert_count"),
        ("tokenizer.ggml.model", text("bert"), "tokenizer model `bert`"),
        ("tokenizer.ggml.merges", Value::Array(vec![text("the the")]), "merge \"the the\""),
        ("tokenizer.ggml.merges", Value::Array(vec![text("nonsense")]), "merge \"nonsense\""),
        ("tokenizer.ggml.tokens", Value::Array(vec![text("a"), text("a")]), "tokens 0 and 1 are both"),
    ] {
        let message = refusal(&tiny().set(key, value));
        assert!(message.contains(expected), "{key}: {message}");
    }
}

#[test]
fn a_bias_is_refused_instead_of_ignored() {
    let bias = Tensor::zeros(HIDDEN, DType::F32, &Device::Cpu).unwrap();
    let message = refusal(&tiny().set_tensor("blk.0.attn_q.bias", &bias));
    assert!(message.contains("blk.0.attn_q.bias"), "{message}");
}

#[test]
fn a_kv_budget_below_one_block_or_beyond_memory_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tiny().bytes()).unwrap();
    for (kv_tokens, expected) in
        [(BLOCK_SIZE - 1, "less than one block"), (usize::MAX, "too large"), (usize::MAX >> 28, "no memory")]
    {
        let mut options = options(file.path(), Compute::F32);
        options.kv_tokens = kv_tokens;
        let message = load_error(load(&options, &mut |_, _| ()));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = tiny().bytes();
    // The writer pads the last tensor to 32 bytes.
    let needed = bytes.len() - 32;
    for length in (0..needed).step_by(needed / 50) {
        load_error(load_bytes(&bytes[..length], Compute::F32));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_changed_header_byte_never_panics(place in 0usize..12_000, byte: u8) {
        let mut bytes = tiny().bytes();
        let header = 12_000.min(bytes.len());
        bytes[place % header] = byte;
        let _ = load_bytes(&bytes, Compute::F32);
    }
}
