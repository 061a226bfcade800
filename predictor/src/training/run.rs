//! [`train`]: one model from data to artifact.

use anyhow::{Context, ensure};
use eoscast_log::record::{Outcome, Pits};

use super::dataset::{Dataset, Sample};
use super::network::{Epoch, Settings};
use super::rows::Rows;
use super::split::{Split, fold};
use super::{classic, network, sequence_network};
use crate::calibration::{Pit, age, pit};
use crate::features::{FEATURE_NAMES, FeatureRow, feature_index};
use crate::models::artifact::{card, to_bytes};
use crate::models::head::{Target, distribution};
use crate::models::mlp;
use crate::models::sequence;
use crate::models::survival::Survival;
use crate::models::weights::Weights;
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

/// Fewest requests to train and to calibrate with.
const LEAST_TRAIN: usize = 100;
const LEAST_CALIBRATION: usize = 20;
/// Networks of `survival`, each with another part of the training requests for validation.
const MEMBERS: u32 = 3;
/// The training requests are divided in so many parts, of which one is for validation.
const FOLDS: u32 = 8;
/// Forecasts of a request at each age that calibration starts from.
const PITS_PER_AGE: usize = 2;

struct Training<'a> {
    kind: ModelKind,
    options: &'a Options,
    train: Vec<&'a Sample>,
    calibration: Vec<&'a Sample>,
    progress: &'a mut dyn FnMut(Progress),
    metrics: Vec<(String, f64)>,
}

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
    let of = |part: &[usize]| -> Vec<&Sample> { part.iter().map(|i| &dataset.samples[*i]).collect() };
    let mut training = Training {
        kind,
        options,
        train: of(&split.train),
        calibration: of(&split.calibration),
        progress,
        metrics: vec![],
    };
    training.enough(dataset.samples.len())?;
    let weights = training.fit()?;
    let pits = match kind.read(&weights)? {
        Some(forecaster) => training.pits(forecaster.as_ref()),
        None => [const { vec![] }; Pits::AGES],
    };
    let mut known: Vec<usize> = split.train.iter().chain(&split.calibration).copied().collect();
    known.sort_unstable();
    let known = of(&known[known.len().saturating_sub(LONGEST_WINDOW)..]);
    let outcomes: Vec<Outcome> = known.iter().map(|sample| Outcome::new(sample.length, !sample.ended)).collect();
    let mut card = card(kind, &dataset.model);
    card.data_hash = dataset.hash.clone();
    card.command = options.command.clone();
    card.requests = (training.train.len() + training.calibration.len()) as u64;
    card.tokens = known.iter().map(|sample| u64::from(sample.length)).sum();
    card.metrics = training.metrics.into_iter().collect();
    to_bytes(&card, weights, &outcomes, &pits)
}

impl Training<'_> {
    fn enough(&self, all: usize) -> anyhow::Result<()> {
        let ended = self.train.iter().filter(|sample| sample.ended).count();
        ensure!(
            self.train.len() >= LEAST_TRAIN && self.calibration.len() >= LEAST_CALIBRATION && 2 * ended >= LEAST_TRAIN,
            "there are {all} usable requests: {} to train on, of which {ended} ended by themselves, and {} to calibrate with; \
             needed are {LEAST_TRAIN}, {} and {LEAST_CALIBRATION}; collect about {} requests",
            self.train.len(),
            self.calibration.len(),
            LEAST_TRAIN / 2,
            2 * LEAST_TRAIN
        );
        Ok(())
    }

    fn note(&mut self, note: String) {
        (self.progress)(Progress::Note(note));
    }

    /// Rows to train on and rows for validation.
    fn rows(&mut self, part: u32) -> [Rows; 2] {
        let (train, validation) = fold(&self.train, self.options.seed, FOLDS, part % FOLDS);
        let rows = |part: &[usize], seed| {
            let samples: Vec<&Sample> = part.iter().map(|i| self.train[*i]).collect();
            Rows::sample(&samples, seed)
        };
        let seed = self.options.seed.wrapping_add(u64::from(part));
        let rows = [rows(&train, seed), rows(&validation, seed)];
        self.note(format!("{}: {} rows, {} for validation", self.kind.as_str(), rows[0].len(), rows[1].len()));
        rows
    }

    fn fit(&mut self) -> anyhow::Result<Weights> {
        let mut weights = Weights::default();
        match self.kind {
            ModelKind::Prior | ModelKind::Threshold => {}
            ModelKind::Logistic => {
                let rows = Rows::sample(&self.train, self.options.seed);
                let mut note = |text| (self.progress)(Progress::Note(text));
                classic::logistic(&rows, self.options.seed, &mut note)?.write(&mut weights);
            }
            ModelKind::Forest => {
                let rows = Rows::sample(&self.train, self.options.seed);
                let mut note = |text| (self.progress)(Progress::Note(text));
                classic::forest(&rows, self.options.seed, &mut note)?.write(&mut weights);
            }
            ModelKind::LengthOnly => {
                let names = ["step", "prompt_length", "max_tokens", "step_ln", "prompt_length_ln", "max_tokens_ln"];
                let columns = names.iter().filter_map(|name| feature_index(name)).map(|i| i as u32).collect();
                self.network(columns, &[24], 0)?.write(mlp::NETWORK, &mut weights);
            }
            ModelKind::Mlp => {
                let columns = (0..FEATURE_NAMES.len() as u32).collect();
                self.network(columns, &[64, 48], 0)?.write(mlp::NETWORK, &mut weights);
            }
            ModelKind::Gru | ModelKind::Lstm | ModelKind::Transformer => self.sequence(&mut weights)?,
            ModelKind::Survival => self.survival(&mut weights)?,
        }
        Ok(weights)
    }

    fn network(
        &mut self,
        columns: Vec<u32>,
        hidden: &[usize],
        part: u32,
    ) -> anyhow::Result<crate::models::dense::Perceptron> {
        let rows = self.rows(part);
        let dropout = if columns.len() < 10 { [0.0, 0.0] } else { [0.1, 0.3] };
        let settings = Settings {
            hidden: hidden.to_vec(),
            dropout,
            weight_decay: 0.05,
            epochs: self.options.epochs,
            seed: self.options.seed.wrapping_add(u64::from(part)),
        };
        let mut epoch = |epoch| (self.progress)(Progress::Epoch(epoch));
        let name = format!("{} {}", self.kind.as_str(), part + 1);
        let (network, loss) = network::fit(&name, columns, [&rows[0], &rows[1]], &settings, &mut epoch)?;
        self.metrics.push((format!("validation_loss_{}", part + 1), loss));
        Ok(network)
    }

    fn sequence(&mut self, weights: &mut Weights) -> anyhow::Result<()> {
        let standardiser = sequence_network::standardiser(&self.rows(0)[0]);
        let (train, validation) = fold(&self.train, self.options.seed, FOLDS, 0);
        let of = |part: &[usize]| -> Vec<&Sample> { part.iter().map(|i| self.train[*i]).collect() };
        let parts = [of(&train), of(&validation)];
        let mut epoch = |epoch| (self.progress)(Progress::Epoch(epoch));
        let (inputs, parameters, loss) = sequence_network::fit(
            self.kind,
            [&parts[0], &parts[1]],
            standardiser,
            self.options.epochs,
            self.options.seed,
            &mut epoch,
        )?;
        self.metrics.push(("validation_loss_1".to_owned(), loss));
        sequence::write(&inputs, &parameters, weights).context("the fitted network cannot be read")
    }

    fn survival(&mut self, weights: &mut Weights) -> anyhow::Result<()> {
        let columns: Vec<u32> = (0..FeatureRow::INPUTS as u32).collect();
        let mut members = vec![];
        for part in 0..MEMBERS {
            members.push(self.network(columns.clone(), &[64, 48], part)?);
        }
        Survival { members }.write(weights);
        // As it will be read back, in half precision.
        let loss = self.calibration_loss(&Survival::read(weights)?);
        self.metrics.push(("calibration_loss".to_owned(), loss));
        Ok(())
    }

    /// Mean loss on the calibration requests, each weighted once.
    fn calibration_loss(&self, survival: &Survival) -> f64 {
        let of_request = |sample: &&Sample| {
            let of_row = |row: FeatureRow| {
                let target = Target { remaining: sample.length - row.step, ended: sample.ended };
                (target.loss(&survival.probabilities(&[row.inputs()])[0]), 1.0)
            };
            let (sum, rows) = sample.rows().map(of_row).fold((0.0, 0.0), |(a, n), (b, m)| (a + b, n + m));
            sum / rows
        };
        self.calibration.iter().map(of_request).sum::<f64>() / self.calibration.len() as f64
    }

    /// Where the calibration requests stand in forecasts of them: at each age they came to, at steps chosen at random.
    fn pits(&mut self, forecaster: &dyn Forecaster) -> [Vec<Pit>; Pits::AGES] {
        let mut random = fastrand::Rng::with_seed(self.options.seed);
        let mut pits = [const { vec![] }; Pits::AGES];
        for sample in &self.calibration {
            let mut memory = forecaster.memory();
            let mut of_request = [const { vec![] }; Pits::AGES];
            for row in sample.rows() {
                let forecast = distribution(&forecaster.predict(&row, &mut memory));
                let value = pit(&forecast, sample.length - row.step);
                of_request[age(row.step)].push(Pit { value, censored: !sample.ended });
            }
            for (pits, of_request) in pits.iter_mut().zip(of_request).filter(|(_, found)| !found.is_empty()) {
                pits.extend((0..PITS_PER_AGE).map(|_| of_request[random.usize(..of_request.len())]));
            }
        }
        let counts = pits.each_ref().map(Vec::len);
        self.note(format!("{}: calibrated with {counts:?} forecasts by age", self.kind.as_str()));
        pits
    }
}

#[cfg(test)]
mod tests;
