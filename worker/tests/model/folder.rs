//! Hub folders that are broken, hostile or of an unsupported kind are refused with an error that names what is wrong.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use eoscast_kernels::Compute;
use eoscast_worker::runner::ModelRunner;
use eoscast_worker::runner::load::load;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::random::{RandomModel, tokenizer, write_json};
use super::tiny::{TinyModel, load_error, options};
use candle_core::quantized::GgmlDType;

fn refusal(folder: &Path) -> String {
    load_error(load(&options(folder, Compute::F32), &mut |_, _| ()))
}

fn llama() -> RandomModel {
    RandomModel::new("llama")
}

/// The refusal of a model whose `config.json` is changed.
fn refusal_with(architecture: &'static str, field: &str, value: Value) -> String {
    let mut model = RandomModel::new(architecture);
    model.config[field] = value;
    refusal(model.folder(DType::F32).path())
}

#[test]
fn the_spec_says_what_the_folder_holds() {
    let folder = RandomModel::new("gemma3").folder(DType::BF16);
    let model = load(&options(folder.path(), Compute::Quantized), &mut |_, _| ()).unwrap();
    let spec = model.runner.spec();
    assert_eq!((spec.architecture.as_str(), spec.quantization.as_str()), ("gemma3", "BF16"));
    assert_eq!((spec.vocab_size, spec.context_length, spec.eos_token_ids.as_slice()), (262, 128, [2, 0].as_slice()));
    assert!(spec.parameters > 262 * 64, "{}", spec.parameters);
}

#[test]
fn what_would_change_the_model_is_refused_instead_of_ignored() {
    for (architecture, field, value, expected) in [
        (
            "llama",
            "model_type",
            json!("mixtral"),
            "`mixtral` is not supported (supported: llama, qwen2, qwen3, gemma3_text)",
        ),
        ("llama", "rope_scaling", json!({ "rope_type": "yarn", "factor": 4.0 }), "rope scaling `yarn`"),
        ("llama", "rope_scaling", json!({ "type": "dynamic", "factor": 4.0 }), "rope scaling `dynamic`"),
        ("llama", "rope_scaling", json!({ "type": "linear" }), "`rope_scaling.factor` is missing"),
        ("llama", "rope_scaling", json!({ "type": "linear", "factor": 0.0 }), "`rope_scaling.factor` is 0"),
        ("llama", "hidden_act", json!("relu"), "`hidden_act` `relu` (config.json; supported: silu)"),
        ("gemma3", "hidden_activation", json!("silu"), "`silu`"),
        ("llama", "attention_bias", json!(true), "`attention_bias`"),
        ("llama", "mlp_bias", json!(true), "`mlp_bias`"),
        ("llama", "partial_rotary_factor", json!(0.5), "`partial_rotary_factor`"),
        ("llama", "quantization_config", json!({ "quant_method": "gptq" }), "`quantization_config`"),
        ("qwen2", "use_sliding_window", json!(true), "`use_sliding_window`"),
        ("qwen3", "layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types`"),
        ("gemma3", "layer_types", json!(["full_attention"]), "`layer_types` has 1 entries"),
        ("gemma3", "layer_types", json!(vec!["linear_attention"; 7]), "layer type `linear_attention`"),
        ("gemma3", "use_bidirectional_attention", json!(true), "`use_bidirectional_attention`"),
        ("gemma3", "final_logit_softcapping", json!(30.0), "`final_logit_softcapping`"),
        ("gemma3", "sliding_window", Value::Null, "`sliding_window` is missing"),
    ] {
        let message = refusal_with(architecture, field, value.clone());
        assert!(message.contains(expected), "{field} {value}: {message}");
    }
}

#[test]
fn fields_that_are_missing_or_absurd_are_named() {
    for (field, value, expected) in [
        ("hidden_size", Value::Null, "config.json: `hidden_size` is missing"),
        ("hidden_size", json!(0), "config.json: hidden_size: invalid value"),
        ("hidden_size", json!("wide"), "config.json: hidden_size: invalid type"),
        ("hidden_size", json!(4_294_967_295u32), "`model.embed_tokens.weight` has shape [262, 64]"),
        ("vocab_size", json!(4_294_967_295u32), "`model.embed_tokens.weight` has shape [262, 64]"),
        ("num_hidden_layers", json!(4_294_967_295u32), "`model.layers.2.self_attn.q_proj.weight` is missing"),
        ("num_attention_heads", json!(4_294_967_295u32), "num_key_value_heads"),
        ("num_key_value_heads", json!(3), "`num_key_value_heads` of 3 for 4 query heads"),
        ("head_dim", json!(4_294_967_295u32), "odd head dimension"),
        ("intermediate_size", json!(97), "`model.layers.0.mlp.gate_proj.weight` has shape [96, 64], expected [97, 64]"),
        ("rms_norm_eps", json!(-1.0), "`rms_norm_eps` is -1"),
        ("rope_theta", json!(0.0), "`rope_theta` is 0"),
        ("tie_word_embeddings", json!(false), "`lm_head.weight` is missing"),
    ] {
        let message = refusal_with("llama", field, value.clone());
        assert!(message.contains(expected), "{field} {value}: {message}");
    }
}

#[test]
fn missing_files_are_named() {
    for (file, expected) in [
        ("config.json", "config.json: there is no such file"),
        ("tokenizer.json", "tokenizer.json: there is no such file"),
        ("model.safetensors", "model.safetensors: "),
    ] {
        let folder = llama().folder(DType::F32);
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let message = refusal(folder.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn tensors_that_are_missing_superfluous_or_of_another_type_are_named() {
    let mut model = llama();
    model.weights.remove("model.layers.1.mlp.up_proj.weight");
    assert!(refusal(model.folder(DType::F32).path()).contains("`model.layers.1.mlp.up_proj.weight` is missing"));

    let mut model = llama();
    let bias = Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap();
    model.weights.insert("model.layers.1.self_attn.o_proj.bias".to_owned(), bias);
    assert!(refusal(model.folder(DType::F32).path()).contains("`model.layers.1.self_attn.o_proj.bias` is of no use"));

    let message = refusal(llama().folder(DType::F64).path());
    assert!(
        message.contains("model.safetensors: tensor `model.") && message.contains("F64 (supported: F32"),
        "{message}"
    );
}

#[test]
fn an_output_matrix_stored_beside_a_tied_embedding_does_no_harm() {
    let mut model = llama();
    model.weights.insert("lm_head.weight".to_owned(), model.weights["model.embed_tokens.weight"].clone());
    assert!(load(&options(model.folder(DType::F32).path(), Compute::F32), &mut |_, _| ()).is_ok());
}

#[test]
fn an_index_of_shards_must_stay_in_the_folder_and_name_a_tensor_once() {
    let folder = llama().sharded_folder();
    let index = "model.safetensors.index.json";
    for escaping in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."] {
        write_json(folder.path(), index, &json!({ "weight_map": { "a": escaping } }));
        let message = refusal(folder.path());
        assert!(message.contains(index) && message.contains("is not a file name"), "{message}");
    }
    let first = folder.path().join("model-00001-of-00002.safetensors");
    std::fs::copy(&first, folder.path().join("copy.safetensors")).unwrap();
    let map = json!({ "weight_map": { "a": "model-00001-of-00002.safetensors", "b": "copy.safetensors" } });
    write_json(folder.path(), index, &map);
    assert!(refusal(folder.path()).contains("is in another shard too"));
}

#[test]
fn a_weight_file_cut_anywhere_is_refused() {
    let folder = llama().folder(DType::F32);
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 20) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(refusal(folder.path()).contains("model.safetensors: "));
    }
}

#[test]
fn a_folder_encodes_as_the_gguf_file_of_the_same_vocabulary() {
    let file = TinyModel::new(GgmlDType::F32).load(Compute::F32).unwrap();
    let folder = llama().folder(DType::F32);
    let folder = load(&options(folder.path(), Compute::F32), &mut |_, _| ()).unwrap();
    for text in ["the 12 é\n", "<|im_start|>user\nthe<|im_end|>", "日本語 😀"] {
        let ids = folder.tokenizer.encode_prompt(text).unwrap();
        assert_eq!(ids, file.tokenizer.encode_prompt(text).unwrap());
        for id in ids {
            assert_eq!(folder.tokenizer.token_bytes(id), file.tokenizer.token_bytes(id));
        }
    }
    assert_eq!(folder.chat_template.unwrap().source(), file.chat_template.unwrap().source());
    assert_eq!((folder.tokenizer.bos_token(), folder.tokenizer.eos_token()), ("<|im_start|>", "<|im_end|>"));
}

/// Loads a folder whose tokenizer files are changed.
fn with_texts(change: impl FnOnce(&mut Value), settings: &Value) -> Result<eoscast_model::text::Tokenizer, String> {
    let folder = llama().folder(DType::F32);
    let mut changed = tokenizer();
    change(&mut changed);
    write_json(folder.path(), "tokenizer.json", &changed);
    write_json(folder.path(), "tokenizer_config.json", settings);
    let model = load(&options(folder.path(), Compute::F32), &mut |_, _| ());
    model.map(|model| model.tokenizer).map_err(|error| error.to_string())
}

#[test]
fn a_plain_prompt_starts_with_bos_if_the_post_processor_or_the_settings_say_so() {
    let template = json!({ "type": "TemplateProcessing", "single": [
        { "SpecialToken": { "id": "<|im_start|>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
    ], "pair": [], "special_tokens": {} });
    let by_template = |json: &mut Value| {
        json["post_processor"] = json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, template] });
    };
    let first =
        |tokenizer: Result<eoscast_model::text::Tokenizer, String>| tokenizer.unwrap().encode_prompt("the").unwrap()[0];
    let bos = json!({ "bos_token": "<|im_start|>" });
    assert_eq!(first(with_texts(by_template, &bos)), 1);
    assert_ne!(first(with_texts(|_| (), &bos)), 1);
    assert_eq!(first(with_texts(|_| (), &json!({ "bos_token": "<|im_start|>", "add_bos_token": true }))), 1);
}

#[test]
fn a_tokenizer_that_contradicts_itself_or_asks_for_more_than_bpe_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 9] = [
        (|json| json["model"]["type"] = json!("Unigram"), "model `Unigram` (tokenizer.json) is not supported"),
        (|json| json["model"]["dropout"] = json!(0.1), "`model.dropout`"),
        (|json| json["model"]["merges"] = json!([["the", "the"]]), "merge \"the the\" does not join"),
        (|json| json["model"]["vocab"]["zzz"] = json!(5), "token 5 is both"),
        (|json| json["added_tokens"][0]["id"] = json!(7), "added token 7 (\"<|endoftext|>\") has another id"),
        (|json| json["decoder"] = json!({ "type": "WordPiece" }), "decoder of [\"WordPiece\"]"),
        (|json| json["post_processor"] = json!({ "type": "BertProcessing" }), "`post_processor` `BertProcessing`"),
        (
            |json| {
                json["post_processor"] = json!({ "type": "TemplateProcessing", "single": [
                { "Sequence": { "id": "A" } }, { "SpecialToken": { "id": "<|im_end|>" } }] })
            },
            "adds more than `bos_token`",
        ),
        (|json| json["pre_tokenizer"] = json!({ "type": "Klingon" }), "tokenizer.json: "),
    ];
    for (change, expected) in changes {
        let message = with_texts(change, &json!({ "bos_token": "<|im_start|>" })).err().unwrap();
        assert!(message.contains(expected), "{message}");
    }
    let message = with_texts(|_| (), &json!({ "eos_token": "</s>" })).err().unwrap();
    assert!(message.contains("`eos_token` \"</s>\" is not in the vocabulary"), "{message}");
}

#[test]
fn ids_that_the_tokenizer_leaves_out_have_no_text_and_ids_beyond_the_model_are_no_end() {
    let mut model = llama();
    let padded = model.weights["model.embed_tokens.weight"].pad_with_zeros(0, 0, 10).unwrap();
    model.weights.insert("model.embed_tokens.weight".to_owned(), padded);
    model.config["vocab_size"] = json!(272);
    let folder = model.folder(DType::F32);
    let tokenizer = load(&options(folder.path(), Compute::F32), &mut |_, _| ()).unwrap().tokenizer;
    assert_eq!((tokenizer.vocab_size(), tokenizer.token_bytes(270)), (272, [].as_slice()));
    assert!(tokenizer.is_special(270) && !tokenizer.is_special(100));
    write_json(folder.path(), "generation_config.json", &json!({ "eos_token_id": 272 }));
    assert!(refusal(folder.path()).contains("end-of-sequence token 272 is outside"));
}

#[test]
fn a_template_file_goes_before_the_one_in_the_settings() {
    let folder = llama().folder(DType::F32);
    let source = || {
        let model = load(&options(folder.path(), Compute::F32), &mut |_, _| ()).unwrap();
        model.chat_template.map(|template| template.source().to_owned())
    };
    let named = json!([{ "name": "rag", "template": "a" }, { "name": "default", "template": "b" }]);
    write_json(folder.path(), "tokenizer_config.json", &json!({ "chat_template": named }));
    assert_eq!(source().as_deref(), Some("b"));
    write_json(folder.path(), "chat_template.json", &json!({ "chat_template": "d" }));
    assert_eq!(source().as_deref(), Some("d"));
    std::fs::write(folder.path().join("chat_template.jinja"), "c").unwrap();
    assert_eq!(source().as_deref(), Some("c"));
}

#[test]
fn a_faulty_template_of_a_folder_costs_the_chat_only() {
    let folder = llama().folder(DType::F32);
    let fault = || {
        let model = load(&options(folder.path(), Compute::F32), &mut |_, _| ()).unwrap();
        model.chat_template.unwrap().fault().map(str::to_owned)
    };
    for (settings, expected) in [
        (json!({ "chat_template": "a\n{% for %}" }), "line 2"),
        (json!({ "chat_template": [{ "name": "rag", "template": "a" }] }), "none is named `default`"),
        (json!({ "chat_template": 3 }), "neither a text"),
    ] {
        write_json(folder.path(), "tokenizer_config.json", &settings);
        let fault = fault().unwrap();
        assert!(fault.contains(expected), "{fault}");
    }
    std::fs::write(folder.path().join("chat_template.jinja"), [0xff, 0xfe]).unwrap();
    assert!(fault().unwrap().contains("chat_template.jinja"));
}

/// A sentencepiece vocabulary as Gemma's and Llama 2's files have it.
#[test]
fn byte_fallback_spells_spaces_and_bytes() {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).chain([
        "▁".to_owned(),
        "a".to_owned(),
        "▁a".to_owned(),
    ]);
    let vocab: serde_json::Map<String, Value> = pieces.enumerate().map(|(id, piece)| (piece, json!(id))).collect();
    let json = json!({
        "added_tokens": [{ "id": 2, "content": "</s>", "special": true, "normalized": false, "single_word": false,
            "lstrip": false, "rstrip": false }],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "decoder": { "type": "Sequence", "decoders": [{ "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" }] },
        "model": { "type": "BPE", "vocab": vocab, "merges": ["▁ a"], "byte_fallback": true, "fuse_unk": true,
            "unk_token": "<unk>" },
    });
    let tokenizer =
        with_texts(|tokenizer| *tokenizer = json, &json!({ "bos_token": "<s>", "eos_token": "</s>" })).unwrap();
    let ids = tokenizer.encode("a aé</s>").unwrap();
    let spelled: Vec<&str> = ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect();
    assert_eq!(spelled, ["a", "▁a", "<0xC3>", "<0xA9>", "</s>"]);
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
    assert_eq!(bytes, "a aé".as_bytes());
    assert_eq!(tokenizer.eos_token_ids()[0], 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_changed_byte_in_any_text_file_never_panics(file in 0usize..4, place: prop::sample::Index, byte: u8) {
        let name = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"][file];
        let folder = llama().folder(DType::BF16);
        let mut bytes = std::fs::read(folder.path().join(name)).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let _ = load(&options(folder.path(), Compute::F32), &mut |_, _| ());
    }
}
