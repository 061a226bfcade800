//! Every architecture, from a GGUF file and from a hub folder, follows candle-transformers' own implementation of it.

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use eoscast_kernels::Compute;
use eoscast_worker::runner::load::load;
use eoscast_worker::runner::{CandleRunner, LogitRows, ModelRunner, Output, SequenceSlice};
use serde_json::json;
use std::path::Path;

use super::random::{ARCHITECTURES, RandomModel, Reference, WINDOW};
use super::tiny::options;

/// Positions computed: prompt and reply.
const LENGTH: usize = 3 * WINDOW;

/// Largest difference of a logit that is rounding.
const TOLERANCE: f32 = 1e-4;

fn folder_runner(folder: &Path) -> CandleRunner {
    load(&options(folder, Compute::F32), &mut |_, _| ()).unwrap().runner
}

fn gguf_runner(model: &RandomModel, dtype: GgmlDType) -> CandleRunner {
    model.gguf(dtype).load(Compute::F32).unwrap().runner
}

fn logits(runner: &mut CandleRunner, token: u32, position: usize) -> Vec<f32> {
    let slice =
        SequenceSlice { tokens: &[token], start: position, block_table: &[5, 2, 9, 0, 7], logits: LogitRows::Last };
    let mut output = Output::default();
    runner.forward(&[slice], &mut output).unwrap();
    output.logits
}

fn greedy(logits: &[f32]) -> u32 {
    (0u32..).zip(logits).max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0
}

/// Runs both token by token, each on what the model itself says.
fn assert_follows(what: &str, runner: &mut CandleRunner, mut reference: Reference) {
    let mut tokens = vec![9, 77, 130, 4, 41];
    for position in 0..LENGTH {
        let ours = logits(runner, tokens[position], position);
        let theirs = reference.logits(tokens[position], position);
        let apart = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
        assert!(apart < TOLERANCE, "{what}, position {position}: logits {apart} apart");
        if position + 1 == tokens.len() {
            assert_eq!(greedy(&ours), greedy(&theirs), "{what}, position {position}");
            tokens.push(greedy(&ours));
        }
    }
}

#[test]
fn a_gguf_file_of_every_architecture_follows_candle_token_by_token() {
    for architecture in ARCHITECTURES {
        let model = RandomModel::new(architecture);
        assert_follows(architecture, &mut gguf_runner(&model, GgmlDType::F32), model.reference());
    }
}

#[test]
fn a_hub_folder_of_every_architecture_and_type_follows_candle_token_by_token() {
    for architecture in ARCHITECTURES {
        let model = RandomModel::new(architecture);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let folder = model.folder(dtype);
            let what = format!("{architecture} in {dtype:?}");
            assert_follows(&what, &mut folder_runner(folder.path()), model.reference());
        }
    }
}

#[test]
fn a_folder_in_shards_gives_the_bits_of_one_file() {
    for architecture in ARCHITECTURES {
        let model = RandomModel::new(architecture);
        let (whole, sharded) = (model.folder(DType::F32), model.sharded_folder());
        let of = |folder: &Path| logits(&mut folder_runner(folder), 50, 0);
        assert_eq!(of(sharded.path()), of(whole.path()), "{architecture}");
    }
}

#[test]
fn llama_three_point_one_stretches_its_angles_as_candle_does() {
    let mut model = RandomModel::new("llama");
    model.config["rope_scaling"] = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64 });
    let folder = model.folder(DType::F32);
    assert_follows("llama3 scaling", &mut folder_runner(folder.path()), model.reference());
}

#[test]
fn newer_config_files_keep_rope_and_layer_kinds_elsewhere() {
    let mut newer = RandomModel::new("gemma3");
    let reference = newer.reference();
    let fields = newer.config.as_object_mut().unwrap();
    for old in ["rope_theta", "rope_local_base_freq", "sliding_window_pattern", "tie_word_embeddings"] {
        fields.remove(old);
    }
    newer.config["rope_parameters"] = json!({
        "full_attention": { "rope_type": "default", "rope_theta": 1_000_000.0 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 10_000.0 },
    });
    let kind = |layer| if layer == 5 { "full_attention" } else { "sliding_attention" };
    newer.config["layer_types"] = (0..7).map(kind).collect();
    let folder = newer.folder(DType::F32);
    assert_follows("gemma3 by layer types", &mut folder_runner(folder.path()), reference);
}

/// The bits of the last row of a sequence of [`LENGTH`].
fn last_bits(runner: &mut CandleRunner) -> Vec<u32> {
    let tokens: Vec<u32> = (0..LENGTH as u32).map(|index| (index * index * 7 + index) % 262).collect();
    let slice =
        SequenceSlice { tokens: &tokens, start: 0, block_table: &[0, 1, 2, 3, 4, 5, 6], logits: LogitRows::Last };
    let mut output = Output::default();
    runner.forward(&[slice], &mut output).unwrap();
    output.logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_settings_of_gemma_change_what_it_says() {
    let bits = |model: &RandomModel| last_bits(&mut folder_runner(model.folder(DType::F32).path()));
    let plain = RandomModel::new("gemma3");
    let expected = bits(&plain);
    for (field, value) in [
        ("sliding_window", json!(WINDOW + 1)),
        ("sliding_window_pattern", json!(7)),
        ("query_pre_attn_scalar", json!(33)),
        ("rope_local_base_freq", json!(10_001.0)),
        ("rope_theta", json!(1_000_100.0)),
        ("rope_scaling", json!({ "rope_type": "linear", "factor": 8.0 })),
    ] {
        let mut changed = plain.clone();
        changed.config[field] = value;
        assert_ne!(bits(&changed), expected, "{field}");
    }
}

#[test]
fn the_settings_in_gemmas_gguf_file_are_those_of_the_folder() {
    let model = RandomModel::new("gemma3");
    let mut other = model.clone();
    other.config["sliding_window_pattern"] = json!(3);
    other.config["rope_local_base_freq"] = json!(5_000.0);
    other.config["rope_scaling"] = json!({ "rope_type": "linear", "factor": 8.0 });
    let file = model
        .gguf(GgmlDType::F32)
        .set("gemma3.attention.sliding_window_pattern", Value::U32(3))
        .set("gemma3.rope.freq_base_swa", Value::F32(5_000.0))
        .set("gemma3.rope.scaling.type", Value::String("linear".to_owned()))
        .set("gemma3.rope.scaling.factor", Value::F32(8.0));
    let ours = last_bits(&mut file.load(Compute::F32).unwrap().runner);
    assert_eq!(ours, last_bits(&mut folder_runner(other.folder(DType::F32).path())));
}
