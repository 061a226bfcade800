//! `prior`: how long past replies were, conditioned on the length so far.

use std::sync::Arc;

use eoscast_log::record::Outcome;

use super::forecaster::Memory;
use super::length_model::LengthModel;
use super::prior::Prior;
use super::warm_start::WarmStart;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::history::History;

/// Name of the model.
pub(super) const NAME: &str = "prior";

/// The prior, after the outcomes of `history`.
pub(super) fn build(start: Option<&WarmStart>, history: &History) -> Box<dyn LengthModel> {
    Box::new(Prior::new(NAME, start, history))
}

impl LengthModel for Prior {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Arc<str> {
        self.state_name()
    }

    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> LengthDistribution {
        self.total_length().condition(row.step)
    }

    fn observe(&mut self, outcome: Outcome) {
        Self::observe(self, outcome);
    }

    fn prior(&self) -> &Prior {
        self
    }
}
