//! [`Serving`]: the model that answers, and the prior for requests that it was not trained for.

use eoscast_log::record::Outcome;

use super::artifact::Artifact;
use super::kind::ModelKind;
use super::length_model::LengthModel;
use super::prior_model;
use crate::history::History;

/// What a predictor answers with.
pub struct Serving {
    model: Box<dyn LengthModel>,
    /// Knows of outcomes only, whatever generated them.
    fallback: Box<dyn LengthModel>,
}

impl Serving {
    /// The model of `kind`, after the outcomes of `history`.
    pub fn new(kind: ModelKind, artifact: Option<&Artifact>, history: &History) -> Self {
        Self { model: kind.build(artifact, history), fallback: prior_model::build(None, history) }
    }

    /// The model that answers, where it can.
    pub fn model(&self) -> &dyn LengthModel {
        self.model.as_ref()
    }

    /// Whether the model answers for requests of the generating model `name`.
    pub fn serves(&self, name: &str) -> bool {
        let names = self.model.trained_for();
        names.is_empty() || names.iter().any(|known| known == name)
    }

    /// What answers for requests of the generating model `name`: the model, unless it was trained for another one.
    pub fn model_for(&self, name: &str) -> &dyn LengthModel {
        if self.serves(name) { self.model.as_ref() } else { self.fallback.as_ref() }
    }

    /// Learns how long a reply was.
    pub fn observe(&mut self, outcome: Outcome) {
        self.model.observe(outcome);
        if !self.model.trained_for().is_empty() {
            self.fallback.observe(outcome);
        }
    }
}
