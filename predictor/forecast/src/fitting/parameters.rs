//! [`Fitting`]: the parameters of a model of any kind, from requests.

use anyhow::Context;

use super::classic;
use super::feedforward::{self, Settings};
use super::progress::FitEvent;
use super::rows::Rows;
use super::sample::Sample;
use super::sequence;
use super::stop::Stop;
use crate::features::{FEATURE_NAMES, FeatureRow, feature_index};
use crate::models::kind::ModelKind;
use crate::models::sequence_core::Architecture;
use crate::models::weights::Weights;
use crate::models::{gru, lstm, mlp, sequence::write, transformer};

/// What came of it.
pub(crate) struct Fitted {
    /// The parameters, as an artifact keeps them.
    pub weights: Weights,
    /// Passes over the data that they took; 0 for what is not fitted in passes.
    pub epochs: u32,
    /// -ln of the likelihood of the validation requests, each weighted once.
    pub loss: Option<f64>,
}

/// Fits models of one kind.
pub(crate) struct Fitting<'a> {
    /// Which.
    pub kind: ModelKind,
    /// Of everything random.
    pub seed: u64,
    /// Is told what happens.
    pub tell: &'a mut dyn FnMut(FitEvent),
}

impl Fitting<'_> {
    /// Fits to `train`.
    ///
    /// # Errors
    /// When a library fails, which it has no reason to.
    pub(crate) fn fit(&mut self, train: &[&Sample], stop: &Stop<'_>) -> anyhow::Result<Fitted> {
        let all = || (0..FeatureRow::INPUTS as u32).collect();
        match self.kind {
            ModelKind::Prior | ModelKind::Threshold => {
                Ok(Fitted { weights: Weights::default(), epochs: 0, loss: None })
            }
            ModelKind::Logistic => self.logistic(train),
            ModelKind::Forest => self.forest(train),
            ModelKind::LengthOnly => {
                let names = ["step", "prompt_length", "max_tokens", "step_ln", "prompt_length_ln", "max_tokens_ln"];
                let columns = names.iter().filter_map(|name| feature_index(name)).map(|i| i as u32).collect();
                self.network(train, stop, columns, &[24], [0.0, 0.0])
            }
            ModelKind::Mlp => {
                self.network(train, stop, (0..FEATURE_NAMES.len() as u32).collect(), &[64, 48], [0.2, 0.4])
            }
            ModelKind::Survival => self.network(train, stop, all(), &[64, 48], [0.2, 0.4]),
            ModelKind::Gru => self.sequence(train, stop, &gru::ARCHITECTURE),
            ModelKind::Lstm => self.sequence(train, stop, &lstm::ARCHITECTURE),
            ModelKind::Transformer => self.sequence(train, stop, &transformer::ARCHITECTURE),
        }
    }

    fn rows(&mut self, samples: &[&Sample]) -> Rows {
        let rows = Rows::sample(samples, self.seed);
        (self.tell)(FitEvent::Note(format!("{} rows of {} requests", rows.len(), samples.len())));
        rows
    }

    fn logistic(&mut self, train: &[&Sample]) -> anyhow::Result<Fitted> {
        let rows = self.rows(train);
        let mut weights = Weights::default();
        classic::logistic(&rows, self.seed, &mut |text| (self.tell)(FitEvent::Note(text)))?.write(&mut weights);
        Ok(Fitted { weights, epochs: 0, loss: None })
    }

    fn forest(&mut self, train: &[&Sample]) -> anyhow::Result<Fitted> {
        let rows = self.rows(train);
        let mut weights = Weights::default();
        classic::forest(&rows, self.seed, &mut |text| (self.tell)(FitEvent::Note(text)))?.write(&mut weights);
        Ok(Fitted { weights, epochs: 0, loss: None })
    }

    fn network(
        &mut self,
        train: &[&Sample],
        stop: &Stop<'_>,
        columns: Vec<u32>,
        hidden: &[usize],
        dropout: [f32; 2],
    ) -> anyhow::Result<Fitted> {
        let rows = self.rows(train);
        let validation = stop.validation().map(|samples| self.rows(samples));
        let settings =
            Settings { hidden: hidden.to_vec(), dropout, weight_decay: 0.05, epochs: stop.most(), seed: self.seed };
        let mut epoch = |epoch| (self.tell)(FitEvent::Epoch(epoch));
        let best = feedforward::fit(columns, &rows, validation.as_ref(), &settings, &mut epoch)?;
        let mut weights = Weights::default();
        best.candidate.write(mlp::NETWORK, &mut weights);
        Ok(Fitted { weights, epochs: best.epoch, loss: best.loss })
    }

    fn sequence(&mut self, train: &[&Sample], stop: &Stop<'_>, architecture: &Architecture) -> anyhow::Result<Fitted> {
        let standardiser = sequence::standardiser(&self.rows(train));
        let mut epoch = |epoch| (self.tell)(FitEvent::Epoch(epoch));
        let best = sequence::fit(architecture, train, stop, &standardiser, self.seed, &mut epoch)?;
        let mut weights = Weights::default();
        write(&standardiser, &best.candidate, &mut weights).context("the fitted network cannot be read")?;
        Ok(Fitted { weights, epochs: best.epoch, loss: best.loss })
    }
}
