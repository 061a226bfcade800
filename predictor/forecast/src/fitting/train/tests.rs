use std::sync::LazyLock;

use super::*;
use crate::fitting::synthetic::{MAX_TOKENS, MODEL, dataset};
use crate::history::History;
use crate::models::{Artifact, LengthModel};

fn options(epochs: u32) -> TrainingOptions {
    TrainingOptions { seed: 1, split_seed: 2, epochs, command: "train".to_owned(), also_for: vec![], threads: 2 }
}

static DATA: LazyLock<Dataset> = LazyLock::new(|| dataset(400, 11));

fn trained(kind: ModelKind, epochs: u32) -> Artifact {
    let bytes = train(kind, &DATA, &options(epochs), &mut |_| {}).unwrap();
    Artifact::parse(&bytes).unwrap()
}

/// Mean absolute error of the median on service length, and coverage of the 90 % interval, over the test requests.
fn judge(model: &dyn LengthModel) -> (f64, f64) {
    let split = Split::new(&DATA.samples, 2);
    let (mut error, mut covered, mut requests) = (0.0, 0.0, 0.0);
    for sample in split.test.iter().map(|i| &DATA.samples[*i]) {
        let mut memory = model.memory();
        let steps = f64::from(sample.length);
        for row in sample.rows() {
            let forecast = model.predict(&row, &mut memory).clip(MAX_TOKENS - row.step);
            let left = f64::from(sample.length - row.step);
            error += (forecast.quantile(0.5) - left).abs() / steps;
            let inside = (forecast.quantile(0.05)..=forecast.quantile(0.95)).contains(&left);
            covered += f64::from(u8::from(inside)) / steps;
        }
        requests += 1.0;
    }
    (error / requests, covered / requests)
}

fn error_of(kind: ModelKind, epochs: u32) -> f64 {
    judge(kind.build(Some(&trained(kind, epochs)), &History::default()).as_ref()).0
}

#[test]
fn what_is_trained_on_signals_beats_lengths_and_these_beat_the_prior() {
    let prior = error_of(ModelKind::Prior, 1);
    let lengths = error_of(ModelKind::LengthOnly, 12);
    for kind in [ModelKind::Logistic, ModelKind::Forest, ModelKind::Mlp, ModelKind::Survival] {
        let error = error_of(kind, 12);
        assert!(error < 0.8 * lengths, "{}: {error}, length-only: {lengths}, prior: {prior}", kind.as_str());
    }
    assert!(lengths < 1.1 * prior, "length-only: {lengths}, prior: {prior}");
}

#[test]
fn networks_over_steps_learn_too() {
    let prior = error_of(ModelKind::Prior, 1);
    for kind in [ModelKind::Gru, ModelKind::Lstm, ModelKind::Transformer] {
        let error = error_of(kind, 6);
        assert!(error < 0.85 * prior, "{}: {error}, prior: {prior}", kind.as_str());
    }
}

#[test]
fn calibrated_intervals_cover_what_they_promise() {
    let artifact = trained(ModelKind::Survival, 8);
    let (_, covered) = judge(ModelKind::Survival.build(Some(&artifact), &History::default()).as_ref());
    assert!((0.84..0.96).contains(&covered), "{covered}");
}

#[test]
fn training_again_gives_the_same_file() {
    for kind in [ModelKind::Forest, ModelKind::Gru, ModelKind::Survival] {
        let run = || train(kind, &DATA, &options(1), &mut |_| {}).unwrap();
        assert!(run() == run(), "{}", kind.as_str());
    }
}

#[test]
fn the_card_tells_where_an_artifact_comes_from() {
    let artifact = trained(ModelKind::LengthOnly, 1);
    let card = artifact.card.unwrap();
    assert_eq!((card.kind.as_str(), card.trained_for.as_str(), card.command.as_str()), ("length-only", MODEL, "train"));
    assert_eq!(card.data_hash, DATA.hash);
    assert!(card.requests > 280 && card.metrics.contains_key("validation_loss"), "{card:?}");
}

#[test]
fn forecasts_are_distributions_and_repeat_bit_for_bit() {
    let artifact = trained(ModelKind::Survival, 1);
    let model = ModelKind::Survival.build(Some(&artifact), &History::default());
    for sample in &DATA.samples[..20] {
        let [mut first, mut second] = [model.memory(), model.memory()];
        for row in sample.rows() {
            let forecast = model.predict(&row, &mut first);
            let again = model.predict(&row, &mut second);
            assert_eq!(forecast.mean().to_bits(), again.mean().to_bits());
            assert!(forecast.mean() >= 1.0 && forecast.quantile(0.99).is_finite());
            assert!(forecast.quantile(0.1) <= forecast.quantile(0.9));
        }
        assert!(first.numbers == second.numbers && first.numbers.len() < 64);
    }
}

#[test]
fn too_little_data_is_refused_with_what_there_is_and_what_is_needed() {
    let error = train(ModelKind::Mlp, &dataset(40, 1), &options(1), &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("there are 40 usable requests") && error.contains("needed are 100"), "{error}");
}

#[test]
fn a_damaged_artifact_is_refused_and_never_panics() {
    let bytes = train(ModelKind::Survival, &DATA, &options(1), &mut |_| {}).unwrap();
    let read = |bytes: &[u8]| Artifact::parse(bytes).map_err(|error| format!("{error:#}"));
    for length in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(&bytes[..length]).is_err());
    }
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(read(&huge).unwrap_err().contains("safetensors"));
    let edit = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut edited = bytes.clone();
        edited[at..at + to.len()].copy_from_slice(to.as_bytes());
        read(&edited).unwrap_err()
    };
    assert!(edit("eoscast-artifact/2", "eoscast-artifact/9").contains("format: must be eoscast-artifact/2"));
    assert!(edit("feature_version\\\":3", "feature_version\\\":1").contains("train it again"));
    assert!(edit("survival\\\",", "survivel\\\",").contains("has no model \"survivel\""));
    assert!(edit("network.1.bias", "network.1.bios").contains("network"));
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        for _ in 0..4 {
            let at = random.usize(..damaged.len().min(20_000));
            damaged[at] = random.u8(..);
        }
        // Some of these still are artifacts; then they must answer.
        if let Ok(artifact) = read(&damaged) {
            let model = artifact.kind.build(Some(&artifact), &History::default());
            let row = DATA.samples[0].rows().next().unwrap();
            assert!(model.predict(&row, &mut model.memory()).mean() >= 0.0);
        }
    }
}

#[test]
fn an_artifact_knows_the_command_and_the_log_that_it_was_made_of() {
    let artifact = trained(ModelKind::Prior, 1);
    assert!(artifact.is_made_by("train", &DATA.hash));
    assert!(!artifact.is_made_by("train --seed 2", &DATA.hash));
    assert!(!artifact.is_made_by("train", "another"));
}
