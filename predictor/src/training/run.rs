//! [`train`]: one model from data to artifact.
//!
//! Calibration is cross-fitted: each part of the training requests stands in forecasts of a model that was fitted without it,
//! so that all of them calibrate and all of them teach the model that is kept (as in the cross-conformal predictors of Vovk,
//! Annals of Mathematics and Artificial Intelligence 74, 2015).

use anyhow::ensure;
use eoscast_log::record::{Outcome, Pits};

use super::dataset::{Dataset, Sample};
use super::fitting::{Fitting, Stop};
use super::network::Epoch;
use super::split::{Split, fold};
use crate::calibration::{Pit, age, pit};
use crate::models::artifact::{card, to_bytes};
use crate::models::{Forecaster, LONGEST_WINDOW, ModelKind};

/// What may be chosen for a training.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of everything random in training.
    pub seed: u64,
    /// Of who is in which part of the split.
    pub split_seed: u64,
    /// Most passes over the data.
    pub epochs: u32,
    /// As it stands on the card.
    pub command: String,
}

/// What a training has to tell while it runs.
#[derive(Debug)]
pub enum Progress {
    /// A pass over the data is done.
    Epoch(Epoch),
    /// Anything else.
    Note(String),
}

/// Fewest requests to train with.
const LEAST_TRAIN: usize = 100;
/// Parts of the training requests, each in turn kept aside.
const FOLDS: u32 = 4;

/// Trains the model of `kind` and gives the bytes of its artifact.
///
/// # Errors
/// When there is too little data.
pub fn train(
    kind: ModelKind,
    dataset: &Dataset,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Vec<u8>> {
    let split = Split::new(&dataset.samples, options.split_seed);
    let train: Vec<&Sample> = split.train.iter().map(|i| &dataset.samples[*i]).collect();
    enough(dataset.samples.len(), &train)?;
    let mut fitting = Fitting { kind, seed: options.seed, progress };
    let mut pits = [const { vec![] }; Pits::AGES];
    let (mut epochs, mut loss) = (0, 0.0);
    if kind.is_trained() {
        for part in 0..FOLDS {
            let (others, aside) = fold(&train, options.seed, FOLDS, part);
            let of = |part: &[usize]| -> Vec<&Sample> { part.iter().map(|i| train[*i]).collect() };
            let (others, aside) = (of(&others), of(&aside));
            fitting.note(format!("{}: fold {} of {FOLDS}", kind.as_str(), part + 1));
            let fitted = fitting.fit(&others, &Stop::Early { validation: &aside, most: options.epochs })?;
            if let Some(forecaster) = kind.read(&fitted.weights)? {
                add_pits(&mut pits, &aside, forecaster.as_ref(), options.seed.wrapping_add(u64::from(part)));
            }
            epochs += fitted.epochs;
            loss += fitted.loss.unwrap_or(f64::NAN) / f64::from(FOLDS);
        }
        let counts = pits.each_ref().map(Vec::len);
        fitting.note(format!("{}: calibrated with {counts:?} forecasts by age; now on all", kind.as_str()));
    }
    // As long as was best for its parts.
    let fitted = fitting.fit(&train, &Stop::After(epochs.div_ceil(FOLDS)))?;
    let known = &train[train.len().saturating_sub(LONGEST_WINDOW)..];
    let outcomes: Vec<Outcome> = known.iter().map(|sample| Outcome::new(sample.length, !sample.ended)).collect();
    let mut card = card(kind, &dataset.model);
    card.data_hash = dataset.hash.clone();
    card.command = options.command.clone();
    card.requests = train.len() as u64;
    card.tokens = train.iter().map(|sample| u64::from(sample.length)).sum();
    if loss.is_finite() && kind.is_trained() {
        card.metrics.insert("validation_loss".to_owned(), loss);
    }
    to_bytes(&card, fitted.weights, &outcomes, &pits)
}

fn enough(all: usize, train: &[&Sample]) -> anyhow::Result<()> {
    let ended = train.iter().filter(|sample| sample.ended).count();
    ensure!(
        train.len() >= LEAST_TRAIN && 2 * ended >= LEAST_TRAIN,
        "there are {all} usable requests: {} to train on, of which {ended} ended by themselves; needed are {LEAST_TRAIN} and {}; \
         collect about {} requests",
        train.len(),
        LEAST_TRAIN / 2,
        2 * LEAST_TRAIN
    );
    Ok(())
}

/// Where `samples` stand in forecasts of them: at each age they came to, at a step chosen at random.
fn add_pits(pits: &mut [Vec<Pit>; Pits::AGES], samples: &[&Sample], forecaster: &dyn Forecaster, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for sample in samples.iter().filter(|sample| sample.is_served_out()) {
        let mut memory = forecaster.memory();
        let mut chosen = [None; Pits::AGES];
        let mut seen = [0; Pits::AGES];
        for row in sample.rows() {
            let forecast = forecaster.predict(&row, &mut memory);
            let age = age(row.step);
            seen[age] += 1;
            if random.u32(..seen[age]) == 0 {
                chosen[age] = Some(Pit { value: pit(&forecast, sample.length - row.step), cut: !sample.ended });
            }
        }
        pits.iter_mut().zip(chosen).for_each(|(pits, chosen)| pits.extend(chosen));
    }
}

#[cfg(test)]
mod tests;
