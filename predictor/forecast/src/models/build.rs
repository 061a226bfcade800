//! Which model starts from which [`Artifact`].

use super::artifact::Artifact;
use super::kind::{Basis, ModelKind};
use super::length_model::LengthModel;
use super::prior::Prior;
use super::prior_model;
use super::trained::Trained;
use crate::history::History;

impl ModelKind {
    /// Whether it can start from `artifact`.
    ///
    /// # Errors
    /// When it has to be trained and `artifact` is not what came of that.
    pub fn check(self, artifact: Option<&Artifact>) -> anyhow::Result<()> {
        let found = artifact.map(|artifact| artifact.kind);
        if !self.is_trained() || found == Some(self) {
            return Ok(());
        }
        let name = self.as_str();
        match found {
            None => anyhow::bail!(
                "model {name} has to be trained; give the file of eoscast-lab train --model {name} with --artifact, or \
                 choose --model prior"
            ),
            Some(found) => anyhow::bail!(
                "model {name} cannot start from an artifact of kind {}; choose --model {0} or another file",
                found.as_str()
            ),
        }
    }

    /// The model after the outcomes of `history`, from what `artifact` holds. Without what [`check`](Self::check) asks for, the
    /// prior.
    pub fn build(self, artifact: Option<&Artifact>, history: &History) -> Box<dyn LengthModel> {
        let start = artifact.map(|artifact| &artifact.start);
        match self.basis() {
            Basis::Outcomes(build) => build(start, history),
            Basis::Training(_) => artifact
                .filter(|artifact| artifact.kind == self)
                .and_then(|artifact| Trained::new(self.as_str(), &artifact.start, history))
                .map_or_else(
                    || prior_model::build(start, history),
                    |trained| Box::new(trained) as Box<dyn LengthModel>,
                ),
        }
    }

    /// First part of the version of the model with this artifact: all but the number of outcomes.
    pub fn family(self, artifact: Option<&Artifact>) -> String {
        Prior::family(self.as_str(), artifact.map(|artifact| &artifact.start))
    }
}
