//! [`Trained`]: a trained forecaster among the models: with calibration, and the prior that workers fall back on.

use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};
use eoscast_proto::domain::END_WITHIN;

use super::head::{BINS, distribution, survival};
use super::{Artifact, Asked, Forecaster, History, LengthModel, Memory, ModelKind, Prior};
use crate::calibration::Calibration;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

/// Up to here estimates speak of natural lengths, whatever `max_tokens` rules out.
const LONGEST_HORIZON: u32 = END_WITHIN[END_WITHIN.len() - 1];

/// A [`Forecaster`] that follows the outcomes by its [`Calibration`].
pub struct Trained {
    kind: ModelKind,
    forecaster: Arc<dyn Forecaster>,
    calibration: Calibration,
    prior: Prior,
    trained_for: Vec<String>,
    artifact: u32,
}

impl Trained {
    /// `forecaster` as `artifact` holds it, after the outcomes of `history`.
    pub fn new(kind: ModelKind, forecaster: Arc<dyn Forecaster>, artifact: &Artifact, history: &History) -> Self {
        Self {
            kind,
            forecaster,
            calibration: Calibration::new(artifact.pits.clone(), artifact.mark(), history),
            prior: Prior::new(kind, Some(artifact), history),
            trained_for: artifact.trained_for.clone(),
            artifact: artifact.mark(),
        }
    }
}

impl Trained {
    fn calibrated(&self, row: &FeatureRow, memory: &mut Memory, probabilities: &[f32; BINS]) -> LengthDistribution {
        memory.kept.consider(row.step, row.chance(), || distribution(probabilities));
        self.calibration.apply(row.step, row.left().max(LONGEST_HORIZON + 1), survival(probabilities))
    }
}

impl LengthModel for Trained {
    fn kind(&self) -> ModelKind {
        self.kind
    }

    fn version(&self) -> Arc<str> {
        self.prior.version()
    }

    fn trained_for(&self) -> &[String] {
        &self.trained_for
    }

    fn memory(&self) -> Memory {
        self.forecaster.memory()
    }

    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> LengthDistribution {
        let probabilities = self.forecaster.predict(row, memory);
        self.calibrated(row, memory, &probabilities)
    }

    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<LengthDistribution> {
        let all = self.forecaster.predict_all(asked);
        let each = asked.iter_mut().zip(&all);
        each.map(|(asked, probabilities)| self.calibrated(asked.row, asked.memory, probabilities)).collect()
    }

    fn pits(&self, memory: &Memory, length: u32) -> Option<Pits> {
        Some(memory.kept.pits(self.artifact, length))
    }

    fn observe(&mut self, outcome: Outcome) {
        self.prior.observe(outcome);
        self.calibration.observe(self.prior.seen(), &outcome);
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }
}
