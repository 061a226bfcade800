//! [`train`]: one model from data to artifact.
//!
//! Calibration is cross-fitted: each part of the training requests stands in forecasts of a model that was fitted without it,
//! so that all of them calibrate and all of them teach the model that is kept (as in the cross-conformal predictors of Vovk,
//! Annals of Mathematics and Artificial Intelligence 74, 2015).

use std::sync::{Mutex, PoisonError};

use anyhow::ensure;
use eoscast_log::record::{Outcome, Pits};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::dataset::Dataset;
use super::parameters::{Fitted, Fitting};
use super::progress::{FitEvent, FitProgress};
use super::sample::Sample;
use super::split::{Split, fold};
use super::stop::Stop;
use crate::age::age;
use crate::calibration::{Pit, pit};
use crate::history::LONGEST_WINDOW;
use crate::models::artifact::{card, to_bytes};
use crate::models::forecaster::Forecaster;
use crate::models::head::distribution;
use crate::models::kind::ModelKind;

/// What may be chosen for a training.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    /// Of everything random in training.
    pub seed: u64,
    /// Of who is in which part of the split.
    pub split_seed: u64,
    /// Most passes over the data.
    pub epochs: u32,
    /// As it stands on the card.
    pub command: String,
    /// Other names of the generating model, for the card.
    pub also_for: Vec<String>,
    /// How many threads fit at once; what is fitted does not depend on it.
    pub threads: usize,
}

impl TrainingOptions {
    /// One pass over the data in two threads.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_test() -> Self {
        Self { seed: 1, split_seed: 2, epochs: 1, command: "train".to_owned(), also_for: vec![], threads: 2 }
    }
}

/// Fewest requests to train with.
const LEAST_TRAIN: usize = 100;
/// Parts of the training requests, each in turn kept aside. With four, forecasts that calibrate are so much worse than those of the model that is kept that
/// its intervals cover up to two points more than they promise (docs/evidence/forecast.md).
const FOLDS: u32 = 8;

/// Trains the model of `kind` on the training requests of a split by prompt, and gives the bytes of its artifact.
///
/// # Errors
/// When there is too little data.
pub fn train(
    kind: ModelKind,
    dataset: &Dataset,
    options: &TrainingOptions,
    progress: &mut (dyn FnMut(FitProgress) + Send),
) -> anyhow::Result<Vec<u8>> {
    let split = Split::new(&dataset.samples, options.split_seed);
    train_on(kind, dataset, &split.train, options, progress)
}

/// The same on the samples at the positions `train`.
///
/// # Errors
/// When there is too little data.
pub fn train_on(
    kind: ModelKind,
    dataset: &Dataset,
    train: &[usize],
    options: &TrainingOptions,
    progress: &mut (dyn FnMut(FitProgress) + Send),
) -> anyhow::Result<Vec<u8>> {
    let train: Vec<&Sample> = train.iter().map(|i| &dataset.samples[*i]).collect();
    enough(dataset.samples.len(), &train)?;
    let mut pits = [const { vec![] }; Pits::AGES];
    let (mut epochs, mut loss) = (0, 0.0);
    if kind.is_trained() {
        let progress = Mutex::new(&mut *progress);
        let tell = |told| progress.lock().unwrap_or_else(PoisonError::into_inner)(told);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build()?;
        let folds: anyhow::Result<Vec<_>> = pool.install(|| {
            let folds = (0..FOLDS).into_par_iter();
            folds.map(|part| fit_fold(kind, &train, part, options, &tell)).collect()
        });
        for (fitted, forecasts) in folds? {
            pits.iter_mut().zip(forecasts).for_each(|(pits, more)| pits.extend(more));
            epochs += fitted.epochs;
            loss += fitted.loss.unwrap_or(f64::NAN) / f64::from(FOLDS);
        }
    }
    let mut tell = |event| progress(FitProgress { what: kind.as_str().to_owned(), event });
    if kind.is_trained() {
        let counts = pits.each_ref().map(Vec::len);
        tell(FitEvent::Note(format!("calibrated with {counts:?} forecasts by age; now on all")));
    }
    // As long as was best for its parts.
    let fitted =
        Fitting { kind, seed: options.seed, tell: &mut tell }.fit(&train, &Stop::After(epochs.div_ceil(FOLDS)))?;
    let known = &train[train.len().saturating_sub(LONGEST_WINDOW)..];
    let outcomes: Vec<Outcome> = known.iter().map(|sample| Outcome::new(sample.length, !sample.ended)).collect();
    let mut card = card(kind, &dataset.model);
    card.data_hash = dataset.hash.clone();
    card.command = options.command.clone();
    card.also_for = options.also_for.clone();
    card.requests = train.len() as u64;
    card.tokens = train.iter().map(|sample| u64::from(sample.length)).sum();
    if loss.is_finite() && kind.is_trained() {
        card.metrics.insert("validation_loss".to_owned(), loss);
    }
    to_bytes(&card, fitted.weights, &outcomes, &pits)
}

type Pitted = [Vec<Pit>; Pits::AGES];

/// Fits to all but one part of the requests, and forecasts those.
fn fit_fold(
    kind: ModelKind,
    train: &[&Sample],
    part: u32,
    options: &TrainingOptions,
    progress: &(dyn Fn(FitProgress) + Sync),
) -> anyhow::Result<(Fitted, Pitted)> {
    let (others, aside) = fold(train, options.seed, FOLDS, part);
    let of = |part: &[usize]| -> Vec<&Sample> { part.iter().map(|i| train[*i]).collect() };
    let (others, aside) = (of(&others), of(&aside));
    let mut tell = |event| {
        let what = format!("{}, fold {} of {FOLDS}", kind.as_str(), part + 1);
        progress(FitProgress { what, event });
    };
    let stop = Stop::Early { validation: &aside, most: options.epochs };
    let fitted = Fitting { kind, seed: options.seed, tell: &mut tell }.fit(&others, &stop)?;
    let mut pits = Pitted::default();
    if let Some(forecaster) = kind.read(&fitted.weights)? {
        add_pits(&mut pits, &aside, forecaster.as_ref(), options.seed.wrapping_add(u64::from(part)));
    }
    Ok((fitted, pits))
}

fn enough(all: usize, train: &[&Sample]) -> anyhow::Result<()> {
    let ended = train.iter().filter(|sample| sample.ended).count();
    ensure!(
        train.len() >= LEAST_TRAIN && 2 * ended >= LEAST_TRAIN,
        "there are {all} usable requests: {} to train on, of which {ended} ended by themselves; needed are {LEAST_TRAIN} and {}; \
         collect about {} requests, with a --max-tokens that lets most replies end",
        train.len(),
        LEAST_TRAIN / 2,
        2 * LEAST_TRAIN
    );
    Ok(())
}

/// Where `samples` stand in forecasts of them: at each age they came to, at a step chosen at random.
fn add_pits(pits: &mut Pitted, samples: &[&Sample], forecaster: &dyn Forecaster, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for sample in samples.iter().filter(|sample| sample.is_served_out()) {
        let mut memory = forecaster.memory();
        let mut chosen = [None; Pits::AGES];
        let mut seen = [0; Pits::AGES];
        for row in sample.rows() {
            let forecast = distribution(&forecaster.predict(&row, &mut memory));
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
