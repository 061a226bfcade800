//! What llama.cpp loads, loads: what is odd, but not needed, is a warning; what cannot be read is named.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use eoscast_kernels::Compute;
use eoscast_worker::runner::ModelRunner;
use eoscast_worker::runner::load::LoadedRunner;

use super::tiny::{TinyModel, load_bytes, load_error, vocabulary};

fn tiny() -> TinyModel {
    TinyModel::new(GgmlDType::F32)
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn load(model: &TinyModel) -> LoadedRunner {
    model.load(Compute::F32).unwrap()
}

/// The only warning of a model that loads.
fn warning(model: &TinyModel) -> String {
    let warnings = load(model).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    warnings[0].clone()
}

#[test]
fn ids_that_are_no_tokens_are_ignored_with_a_warning() {
    for name in ["bos", "padding", "unknown", "seperator", "mask", "cls", "eot", "eom", "fim_pre"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        for (value, found) in [
            (Value::U32(u32::MAX), "4294967295"),
            (Value::I32(-1), "-1"),
            (Value::U32(262), "262"),
            (Value::U64(1 << 40), "1099511627776"),
            (Value::Bool(true), "of type bool"),
            (text("<s>"), "of type string"),
        ] {
            let warning = warning(&tiny().set(&key, value));
            assert!(warning.contains(&key) && warning.contains(found) && warning.contains("262"), "{warning}");
        }
        for value in [Value::U8(1), Value::I32(1), Value::U64(1), Value::I64(1)] {
            assert_eq!(load(&tiny().set(&key, value)).warnings, Vec::<String>::new(), "{key}");
        }
    }
    let model = tiny().set("tokenizer.ggml.bos_token_id", Value::I32(-1));
    let model = model.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    let tokenizer = load(&model).tokenizer;
    assert_eq!((tokenizer.bos_token(), tokenizer.encode_prompt("the").unwrap().len()), ("", 1));
}

#[test]
fn a_wrong_eos_id_is_a_warning_while_other_ends_are_known() {
    let wrong = |model: TinyModel| model.set("tokenizer.ggml.eos_token_id", Value::U32(u32::MAX));
    let model = wrong(tiny());
    assert!(warning(&model).contains("`tokenizer.ggml.eos_token_id` is 4294967295"));
    assert_eq!(load(&model).runner.spec().eos_token_ids, [0, 2]);
    let nameless: Vec<_> = vocabulary().into_iter().map(|token| token.replace("<|", "<<")).collect();
    let model = TinyModel::with_vocabulary(GgmlDType::F32, &nameless);
    let message = load_error(wrong(model).load(Compute::F32));
    assert!(message.contains("`tokenizer.ggml.eos_token_id` is 4294967295"), "{message}");
    let model = TinyModel::with_vocabulary(GgmlDType::F32, &nameless).set("tokenizer.ggml.eot_token_id", Value::U32(7));
    assert_eq!(load(&wrong(model)).runner.spec().eos_token_ids, [7]);
}

#[test]
fn settings_that_contradict_the_tokens_are_told() {
    assert!(warning(&tiny().set("llama.vocab_size", Value::U32(5))).contains("`vocab_size` is 5"));
    let key = "tokenizer.ggml.token_type";
    assert!(warning(&tiny().set(key, text("normal"))).contains(key));
    assert!(warning(&tiny().set(key, Value::Array(vec![Value::I32(3)]))).contains("1 entries for 262 tokens"));
    assert!(load(&tiny().without(key)).warnings.is_empty());
    let odd = Value::Array((0..262).map(|_| Value::I32(-1)).collect());
    assert!(load(&tiny().set(key, odd)).warnings.is_empty());
    assert!(load(&tiny().set("tokenizer.ggml.scores", text("none"))).warnings.is_empty(), "not needed");
}

#[test]
fn tokens_without_a_text_stand_for_nothing() {
    let mut tokens = vocabulary();
    tokens.extend([String::new(), String::new()]);
    let model = TinyModel::with_vocabulary(GgmlDType::F32, &tokens);
    assert!(warning(&model).contains("2 of `tokenizer.ggml.tokens` are empty"));
    let tokenizer = load(&model).tokenizer;
    assert_eq!((tokenizer.token(263), tokenizer.token_bytes(263)), (Some("[EMPTY_263]"), [].as_slice()));
}

#[test]
fn flags_may_be_numbers() {
    let add_bos = "tokenizer.ggml.add_bos_token";
    let first = |value| load(&tiny().set(add_bos, value)).tokenizer.encode_prompt("the").unwrap()[0];
    assert_eq!(first(Value::U32(1)), 1);
    assert_ne!(first(Value::I8(0)), 1);
    assert!(warning(&tiny().set(add_bos, text("yes"))).contains(add_bos));
}

#[test]
fn sizes_may_be_given_for_each_layer_if_they_are_the_same() {
    let each = |values: [u32; 2]| Value::Array(values.map(Value::U32).into());
    assert!(load(&tiny().set("llama.attention.head_count_kv", each([2, 2]))).warnings.is_empty());
    let message = load_error(tiny().set("llama.feed_forward_length", each([96, 97])).load(Compute::F32));
    assert!(message.contains("llama.feed_forward_length"), "{message}");
}

#[test]
fn a_file_that_does_not_name_its_pre_tokenizer_loads_with_a_warning() {
    for model in [tiny().without("tokenizer.ggml.pre"), tiny().set("tokenizer.ggml.pre", text(""))] {
        assert!(warning(&model).contains("`tokenizer.ggml.pre` is missing"));
    }
}

#[test]
fn what_we_know_nothing_of_is_not_looked_at() {
    let model = tiny()
        .set("general.file_type", Value::U32(9_999))
        .set("general.tags", Value::Array(vec![text("a"), text("b")]))
        .set("somebody.else", Value::Array(vec![Value::Array(vec![Value::F64(1.0)])]));
    assert!(load(&model).warnings.is_empty());
}

#[test]
fn version_2_loads_and_others_are_refused_by_name() {
    let with_version = |version: [u8; 4]| {
        let mut bytes = tiny().bytes();
        bytes[4..8].copy_from_slice(&version);
        load_bytes(&bytes, Compute::F32)
    };
    assert!(with_version([2, 0, 0, 0]).is_ok());
    assert!(load_error(with_version([1, 0, 0, 0])).contains("version 1"));
    assert!(load_error(with_version([0, 0, 0, 3])).contains("big-endian"));
}

#[test]
fn a_tensor_type_that_is_not_read_is_named_with_those_that_are() {
    for (number, name) in [(20, "IQ4_NL"), (39, "MXFP4"), (33, "Q4_0_8_8"), (77, "type 77")] {
        let message = load_error(load_bytes(&tiny().bytes_with_type("token_embd.weight", number), Compute::F32));
        let expected = format!("tensor token_embd.weight is {name}; supported: F32, F16, BF16, Q4_0, Q4_1, Q5_0");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn weights_of_five_bits_load() {
    for dtype in [GgmlDType::Q5_0, GgmlDType::Q5_1] {
        let model = TinyModel::new(dtype).load(Compute::Quantized).unwrap();
        assert_eq!(model.runner.spec().quantization, format!("{dtype:?}"));
    }
}

#[test]
fn a_template_that_is_no_text_costs_the_chat_only() {
    let model = load(&tiny().set("tokenizer.chat_template", Value::U32(1)));
    assert!(model.chat_template.unwrap().fault().unwrap().contains("`tokenizer.chat_template` is not a string"));
    let model = load(&tiny().set("tokenizer.chat_template", text("\n{% for %}")));
    assert!(model.chat_template.unwrap().fault().unwrap().starts_with("line 2"));
}
