//! The tokenizer and the chat template of a model file.

use super::tiny::{TinyModel, options};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use eoscast_kernels::Compute;
use eoscast_model::locate;
use eoscast_model::text::Tokenizer;
use eoscast_model::text::{RenderOptions, Turn};
use eoscast_worker::runner::load::load;
use proptest::prelude::*;

fn tokenizer() -> Tokenizer {
    TinyModel::new(GgmlDType::F32).load(Compute::F32).unwrap().tokenizer
}

fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| tokenizer.token(*id).unwrap().to_owned()).collect()
}

#[test]
fn digits_stay_apart_even_where_a_merge_would_join_them() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("the 12").unwrap();
    assert_eq!(spelled(&tokenizer, &ids), ["the", "Ġ", "1", "2"]);
}

#[test]
fn special_tokens_are_parsed_in_templates_and_in_plain_prompts() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.encode("<|im_end|>").unwrap(), [2]);
    assert_eq!(tokenizer.encode_prompt("<|im_end|>").unwrap(), [2]);
}

#[test]
fn a_plain_prompt_starts_with_bos_only_if_the_file_says_so() {
    assert_eq!(tokenizer().encode_prompt("the").unwrap().len(), 1);
    let model = TinyModel::new(GgmlDType::F32).set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    let tokenizer = model.load(Compute::F32).unwrap().tokenizer;
    assert_eq!(tokenizer.encode_prompt("the").unwrap()[0], 1);
    assert_ne!(tokenizer.encode("the").unwrap()[0], 1);
}

#[test]
fn the_eos_set_is_the_files_own_id_and_the_well_known_texts() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.eos_token_ids(), [2, 0]);
    assert_eq!(tokenizer.id_of("<|im_end|>"), Some(2));
    assert!(tokenizer.is_special(1) && tokenizer.token_bytes(1).is_empty());
}

/// A SentencePiece vocabulary: control tokens, bytes, and pieces whose scores prefer later entries less.
fn sentencepiece() -> TinyModel {
    let pieces = ["▁", "t", "h", "e", "i", "▁t", "he", "▁the", "th", "▁th"];
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let tokens: Vec<String> =
        ["<unk>", "<s>", "</s>"].into_iter().map(str::to_owned).chain(bytes).chain(pieces.map(str::to_owned)).collect();
    let kind = |index: usize| [2, 3, 3].get(index).copied().unwrap_or(if index < 259 { 6 } else { 1 });
    TinyModel::with_vocabulary(GgmlDType::F32, &tokens)
        .set("tokenizer.ggml.model", Value::String("llama".to_owned()))
        .set(
            "tokenizer.ggml.scores",
            Value::Array((0..tokens.len()).map(|index| Value::F32(-(index as f32))).collect()),
        )
        .set(
            "tokenizer.ggml.token_type",
            Value::Array((0..tokens.len()).map(|index| Value::I32(kind(index))).collect()),
        )
        .without("tokenizer.ggml.pre")
        .without("tokenizer.ggml.merges")
}

#[test]
fn sentencepiece_merges_by_score_and_spells_unknown_characters_in_bytes() {
    let tokenizer = sentencepiece().load(Compute::F32).unwrap().tokenizer;
    let spelled = |text: &str| spelled(&tokenizer, &tokenizer.encode(text).unwrap());
    assert_eq!(spelled("the thi"), ["▁the", "▁th", "i"]);
    assert_eq!(spelled("é</s>"), ["▁", "<0xC3>", "<0xA9>", "</s>"]);
    let ids = tokenizer.encode_prompt("the é\n").unwrap();
    assert_eq!(ids[0], 1, "plain prompts start with BOS");
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
    assert_eq!(bytes, " the é\n".as_bytes());
    assert_eq!(tokenizer.eos_token_ids(), [2]);
}

#[test]
fn a_chat_message_becomes_the_models_markup() {
    let model = TinyModel::new(GgmlDType::F32).load(Compute::F32).unwrap();
    let message = Turn { role: "user", content: "the" };
    let text = model.chat_template.unwrap().render(&[message], RenderOptions::default()).unwrap();
    let ids = model.tokenizer.encode(&text).unwrap();
    let spelled = spelled(&model.tokenizer, &ids).concat();
    assert_eq!(spelled, "<|im_start|>userĊthe<|im_end|>Ċ<|im_start|>assistantĊ");
}

#[test]
fn a_model_without_a_chat_template_loads() {
    let model = TinyModel::new(GgmlDType::F32).without("tokenizer.chat_template");
    assert!(model.load(Compute::F32).unwrap().chat_template.is_none());
}

proptest! {
    #[test]
    fn the_bytes_of_the_tokens_give_the_text_back(text: String) {
        let tokenizer = TOKENIZER.with(std::rc::Rc::clone);
        let ids = tokenizer.encode_prompt(&text).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
        prop_assert_eq!(bytes, text.into_bytes());
    }
}

thread_local! {
    static TOKENIZER: std::rc::Rc<Tokenizer> = std::rc::Rc::new(tokenizer());
}

/// Ids that the published tokenizer of SmolLM2 gives, checked where the model has been fetched (`make setup`).
#[test]
fn smollm2_encodes_a_chat_as_published() {
    let Ok(path) = locate("smollm2-135m") else {
        eprintln!("skipped: the model is not here, run `make setup`");
        return;
    };
    let model = load(&options(&path, Compute::Quantized), &mut |_, _| ()).unwrap();
    let message = Turn { role: "user", content: "What is the capital of France?" };
    let text = model.chat_template.unwrap().render(&[message], RenderOptions::default()).unwrap();
    let ids = [
        1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
        198, 1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
    ];
    assert_eq!(model.tokenizer.encode(&text).unwrap(), ids);
    assert_eq!(model.tokenizer.eos_token_ids(), [2, 0]);
}

/// The texts of which a byte-level vocabulary and its rules could make fewest tokens.
fn dense_texts() -> [String; 5] {
    [
        "the ".repeat(50),
        "<|im_end|>".repeat(50),
        "e\u{301}".repeat(50),
        "\u{1FBE}\u{308}\u{301}".repeat(50),
        "1 2\n".repeat(50),
    ]
}

#[test]
fn a_text_never_has_fewer_tokens_than_its_bytes_tell() {
    let qwen = TinyModel::new(GgmlDType::F32).set("tokenizer.ggml.pre", Value::String("qwen2".to_owned()));
    for model in [TinyModel::new(GgmlDType::F32), qwen, sentencepiece()] {
        let tokenizer = model.load(Compute::F32).unwrap().tokenizer;
        for text in dense_texts() {
            let (least, tokens) = (tokenizer.least_tokens(&text), tokenizer.encode(&text).unwrap().len());
            assert!(least > 0 && least <= tokens, "{least} of {tokens} for {text:?}");
        }
    }
}

#[test]
fn the_longest_token_bounds_what_one_token_stands_for() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.most_bytes_per_token(), Some("<|endoftext|>".len()));
    assert_eq!(tokenizer.least_tokens(&"x".repeat(131)), 11);
}

#[test]
fn a_long_text_has_the_tokens_of_its_words_wherever_it_is_cut() {
    let tokenizer = tokenizer();
    let text = "the 12 the\n".repeat(8_000);
    let parts: Vec<Vec<u32>> = tokenizer.encode_in_parts(&text).map(Result::unwrap).collect();
    assert!(parts.len() > 1, "it was not cut");
    let line = tokenizer.encode("the 12 the\n").unwrap();
    assert_eq!(parts.concat(), line.repeat(8_000));
}
