//! [`Trained`]: a trained forecaster among the models: with calibration, and the prior that workers fall back on.

use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};

use super::{Artifact, Forecaster, History, LengthModel, Memory, ModelKind, Prior};
use crate::calibration::Calibration;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

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
        let forecast = self.forecaster.predict(row, memory);
        // The signals of a step are chance enough, and a replay has them, too.
        let chance = row.eos_logprob().to_bits() ^ row.arrival.prompt_length;
        memory.kept.consider(row.step, chance, &forecast);
        self.calibration.apply(row.step, &forecast)
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
