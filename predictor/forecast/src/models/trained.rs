//! [`Trained`]: a trained forecaster among the models: with calibration, and the prior that workers fall back on.

use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};
use eoscast_proto::domain::END_WITHIN;

use super::forecaster::{Asked, Forecaster, Memory};
use super::head::{BINS, distribution, survival};
use super::length_model::LengthModel;
use super::prior::Prior;
use super::warm_start::WarmStart;
use crate::calibration::Calibration;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::history::History;

/// Up to here estimates speak of natural lengths, whatever `max_tokens` rules out.
const LONGEST_HORIZON: u32 = END_WITHIN[END_WITHIN.len() - 1];

/// A [`Forecaster`] that follows the outcomes by its [`Calibration`].
pub(super) struct Trained {
    name: &'static str,
    forecaster: Arc<dyn Forecaster>,
    calibration: Calibration,
    prior: Prior,
    trained_for: Vec<String>,
    artifact: u32,
}

impl Trained {
    /// The model called `name` after the outcomes of `history`; nothing if `start` has no forecaster.
    pub(super) fn new(name: &'static str, start: &WarmStart, history: &History) -> Option<Self> {
        Some(Self {
            name,
            forecaster: start.forecaster.clone()?,
            calibration: Calibration::new(start.pits.clone(), start.mark(), history),
            prior: Prior::new(name, Some(start), history),
            trained_for: start.trained_for.clone(),
            artifact: start.mark(),
        })
    }

    fn calibrated(&self, row: &FeatureRow, memory: &mut Memory, probabilities: &[f32; BINS]) -> LengthDistribution {
        memory.kept.consider(row.step, row.chance(), || distribution(probabilities));
        self.calibration.apply(row.step, row.left().max(LONGEST_HORIZON + 1), survival(probabilities))
    }
}

impl LengthModel for Trained {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Arc<str> {
        self.prior.state_name()
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
