//! [`Fitting`]: the parameters of a model of any kind, from requests.

use anyhow::Context;

use super::dataset::Sample;
use super::network::{self, Settings};
use super::rows::Rows;
use super::run::Event;
use super::{classic, sequence_network};
use crate::features::{FEATURE_NAMES, FeatureRow, feature_index};
use crate::models::weights::Weights;
use crate::models::{ModelKind, mlp, sequence};

/// When the training of a network ends.
pub enum Stop<'a> {
    /// When nothing gets better for these requests, or after so many passes over the data.
    Early {
        /// Requests that are not trained on.
        validation: &'a [&'a Sample],
        /// Most passes.
        most: u32,
    },
    /// After so many passes over the data.
    After(u32),
}

impl Stop<'_> {
    /// Most passes over the data.
    pub fn most(&self) -> u32 {
        match *self {
            Self::Early { most, .. } => most,
            Self::After(epochs) => epochs,
        }
    }

    /// Requests that decide.
    pub fn validation(&self) -> Option<&[&Sample]> {
        match *self {
            Self::Early { validation, .. } => Some(validation),
            Self::After(_) => None,
        }
    }
}

/// What came of it.
pub struct Fitted {
    /// The parameters, as an artifact keeps them.
    pub weights: Weights,
    /// Passes over the data that they took; 0 for what is not fitted in passes.
    pub epochs: u32,
    /// -ln of the likelihood of the validation requests, each weighted once.
    pub loss: Option<f64>,
}

/// Fits models of one kind.
pub struct Fitting<'a> {
    /// Which.
    pub kind: ModelKind,
    /// Of everything random.
    pub seed: u64,
    /// Is told what happens.
    pub tell: &'a mut dyn FnMut(Event),
}

impl Fitting<'_> {
    /// Fits to `train`.
    ///
    /// # Errors
    /// When a library fails, which it has no reason to.
    pub fn fit(&mut self, train: &[&Sample], stop: &Stop<'_>) -> anyhow::Result<Fitted> {
        let all = || (0..FeatureRow::INPUTS as u32).collect();
        match self.kind {
            ModelKind::Prior | ModelKind::Threshold => {
                Ok(Fitted { weights: Weights::default(), epochs: 0, loss: None })
            }
            ModelKind::Logistic | ModelKind::Forest => self.classic(train),
            ModelKind::LengthOnly => {
                let names = ["step", "prompt_length", "max_tokens", "step_ln", "prompt_length_ln", "max_tokens_ln"];
                let columns = names.iter().filter_map(|name| feature_index(name)).map(|i| i as u32).collect();
                self.network(train, stop, columns, &[24], [0.0, 0.0])
            }
            ModelKind::Mlp => {
                self.network(train, stop, (0..FEATURE_NAMES.len() as u32).collect(), &[64, 48], [0.2, 0.4])
            }
            ModelKind::Survival => self.network(train, stop, all(), &[64, 48], [0.2, 0.4]),
            ModelKind::Gru | ModelKind::Lstm | ModelKind::Transformer => self.sequence(train, stop),
        }
    }

    fn rows(&mut self, samples: &[&Sample]) -> Rows {
        let rows = Rows::sample(samples, self.seed);
        (self.tell)(Event::Note(format!("{} rows of {} requests", rows.len(), samples.len())));
        rows
    }

    fn classic(&mut self, train: &[&Sample]) -> anyhow::Result<Fitted> {
        let rows = self.rows(train);
        let mut note = |text| (self.tell)(Event::Note(text));
        let mut weights = Weights::default();
        match self.kind {
            ModelKind::Forest => classic::forest(&rows, self.seed, &mut note)?.write(&mut weights),
            _ => classic::logistic(&rows, self.seed, &mut note)?.write(&mut weights),
        }
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
        let mut epoch = |epoch| (self.tell)(Event::Epoch(epoch));
        let best = network::fit(columns, &rows, validation.as_ref(), &settings, &mut epoch)?;
        let mut weights = Weights::default();
        best.candidate.write(mlp::NETWORK, &mut weights);
        Ok(Fitted { weights, epochs: best.epoch, loss: best.loss })
    }

    fn sequence(&mut self, train: &[&Sample], stop: &Stop<'_>) -> anyhow::Result<Fitted> {
        let standardiser = sequence_network::standardiser(&self.rows(train));
        let mut epoch = |epoch| (self.tell)(Event::Epoch(epoch));
        let best = sequence_network::fit(self.kind, train, stop, &standardiser, self.seed, &mut epoch)?;
        let mut weights = Weights::default();
        sequence::write(&standardiser, &best.candidate, &mut weights).context("the fitted network cannot be read")?;
        Ok(Fitted { weights, epochs: best.epoch, loss: best.loss })
    }
}
