use std::sync::LazyLock;

use super::*;
use crate::fitting::synthetic::{MAX_TOKENS, MODEL, dataset};
use crate::history::History;
use crate::models::{Artifact, LengthModel};

fn options(epochs: u32) -> TrainingOptions {
    TrainingOptions { epochs, ..TrainingOptions::for_test() }
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

fn build(artifact: &Artifact) -> Box<dyn LengthModel> {
    artifact.kind.build(Some(artifact), &History::default())
}

fn error_of(artifact: &Artifact) -> f64 {
    judge(build(artifact).as_ref()).0
}

/// Fitted once to the first `requests` training requests, without the parts that calibrate: medians are the same.
fn fitted_once(kind: ModelKind, requests: usize, epochs: u32) -> Artifact {
    let split = Split::new(&DATA.samples, 2);
    let train: Vec<&Sample> = split.train.iter().take(requests).map(|i| &DATA.samples[*i]).collect();
    let fitted = Fitting { kind, seed: 1, tell: &mut |_| {} }.fit(&train, &Stop::After(epochs)).unwrap();
    let none = [const { vec![] }; Pits::AGES];
    Artifact::parse(&to_bytes(&card(kind, MODEL), fitted.weights, &[], &none).unwrap()).unwrap()
}

/// All training requests.
const ALL: usize = usize::MAX;

static PRIOR_ERROR: LazyLock<f64> = LazyLock::new(|| error_of(&trained(ModelKind::Prior, 1)));
static LENGTHS_ERROR: LazyLock<f64> = LazyLock::new(|| error_of(&fitted_once(ModelKind::LengthOnly, ALL, 12)));

fn assert_beats_lengths(artifact: &Artifact) {
    let (error, lengths) = (error_of(artifact), *LENGTHS_ERROR);
    assert!(error < 0.8 * lengths, "{}: {error}, length-only: {lengths}", artifact.kind.as_str());
}

#[test]
fn what_is_trained_on_lengths_beats_the_prior() {
    let (lengths, prior) = (*LENGTHS_ERROR, *PRIOR_ERROR);
    assert!(lengths < 1.1 * prior, "length-only: {lengths}, prior: {prior}");
}

// A model fitted to fewer requests has less to learn from, so that its bound is no easier.

#[test]
fn regressions_on_signals_beat_lengths() {
    assert_beats_lengths(&fitted_once(ModelKind::Logistic, 100, 1));
}

#[test]
fn forests_on_signals_beat_lengths() {
    assert_beats_lengths(&fitted_once(ModelKind::Forest, 80, 1));
}

#[test]
fn a_network_on_signals_beats_lengths() {
    assert_beats_lengths(&fitted_once(ModelKind::Mlp, ALL, 12));
}

#[test]
fn a_network_on_all_that_is_known_beats_lengths() {
    assert_beats_lengths(&fitted_once(ModelKind::Survival, ALL, 12));
}

fn assert_beats_the_prior(artifact: &Artifact) {
    let (error, prior) = (error_of(artifact), *PRIOR_ERROR);
    assert!(error < 0.85 * prior, "{}: {error}, prior: {prior}", artifact.kind.as_str());
}

#[test]
fn a_network_of_gated_units_learns_over_steps() {
    assert_beats_the_prior(&fitted_once(ModelKind::Gru, ALL, 4));
}

#[test]
fn a_network_with_long_short_term_memory_learns_over_steps() {
    assert_beats_the_prior(&fitted_once(ModelKind::Lstm, ALL, 4));
}

#[test]
fn a_transformer_learns_over_steps() {
    assert_beats_the_prior(&fitted_once(ModelKind::Transformer, ALL, 2));
}

#[test]
fn calibrated_intervals_cover_what_they_promise() {
    let (_, covered) = judge(build(&trained(ModelKind::Survival, 2)).as_ref());
    assert!((0.84..0.96).contains(&covered), "{covered}");
}

/// Few, so that training takes a second.
static FEW: LazyLock<Dataset> = LazyLock::new(|| dataset(150, 12));

fn quickly_trained(kind: ModelKind) -> Vec<u8> {
    train(kind, &FEW, &options(1), &mut |_| {}).unwrap()
}

static QUICK_SURVIVAL: LazyLock<Vec<u8>> = LazyLock::new(|| quickly_trained(ModelKind::Survival));

#[test]
fn training_again_gives_the_same_file() {
    assert!(quickly_trained(ModelKind::Survival) == *QUICK_SURVIVAL);
}

#[test]
fn training_over_steps_again_gives_the_same_file() {
    assert!(quickly_trained(ModelKind::Gru) == quickly_trained(ModelKind::Gru));
}

#[test]
fn fitting_forests_again_gives_the_same_parameters() {
    let fit = || {
        let train: Vec<&Sample> = FEW.samples.iter().collect();
        let fitted = Fitting { kind: ModelKind::Forest, seed: 1, tell: &mut |_| {} }.fit(&train, &Stop::After(1));
        fitted.unwrap().weights
    };
    assert!(fit() == fit());
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
    let model = build(&Artifact::parse(&QUICK_SURVIVAL).unwrap());
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
    let bytes = &*QUICK_SURVIVAL;
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
            let model = build(&artifact);
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
