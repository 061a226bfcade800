//! [`ModelKind`]: the table of models. A new model is a file beside this one and one line here (and its fit in
//! `fitting::parameters`).

use std::sync::Arc;

use super::forecaster::Forecaster;
use super::length_model::LengthModel;
use super::warm_start::WarmStart;
use super::weights::Weights;
use super::{forest, gru, logistic, lstm, mlp, prior_model, threshold, transformer};
use crate::history::History;

/// What a model is made of.
pub(super) enum Basis {
    /// Outcomes alone; an artifact only adds some.
    Outcomes(fn(Option<&WarmStart>, &History) -> Box<dyn LengthModel>),
    /// The tensors of an artifact that it was trained to.
    Training(fn(&Weights) -> anyhow::Result<Arc<dyn Forecaster>>),
}

macro_rules! models {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:expr => $basis:expr;)+) => {
        /// The models there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
        pub enum ModelKind {
            $($(#[doc = $doc])+ #[value(name = $name)] $kind,)+
        }

        /// One for each kind, in order: its name, and what it is made of.
        const MODELS: &[(ModelKind, &str, Basis)] = &[$((ModelKind::$kind, $name, $basis),)+];

        impl ModelKind {
            /// All, those first that are trained sooner.
            pub const ALL: [Self; MODELS.len()] = [$(Self::$kind,)+];
        }
    };
}

models! {
    /// Lengths of past replies, conditioned on the length so far.
    Prior = prior_model::NAME => Basis::Outcomes(prior_model::build);
    /// The prior, until the EOS probability says that the end is near.
    Threshold = threshold::NAME => Basis::Outcomes(threshold::build);
    /// Logistic regressions on the present row.
    Logistic = "logistic" => Basis::Training(logistic::read);
    /// Random forests on the present row.
    Forest = "forest" => Basis::Training(forest::read);
    /// A network that sees lengths only: what EOS signals have to beat.
    LengthOnly = "length-only" => Basis::Training(mlp::read);
    /// A network on the present row, without sketches.
    Mlp = "mlp" => Basis::Training(mlp::read);
    /// Averaged networks on all that is known.
    Survival = "survival" => Basis::Training(mlp::read);
    /// A recurrent network with gated units.
    Gru = "gru" => Basis::Training(gru::read);
    /// A recurrent network with long short-term memory.
    Lstm = "lstm" => Basis::Training(lstm::read);
    /// A causal transformer over the last steps.
    Transformer = "transformer" => Basis::Training(transformer::read);
}

impl ModelKind {
    fn entry(self) -> &'static (Self, &'static str, Basis) {
        &MODELS[self as usize]
    }

    /// As estimates, logs and flags spell it.
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    /// The kind that [`as_str`](Self::as_str) spells.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub(super) fn basis(self) -> &'static Basis {
        &self.entry().2
    }

    /// Whether it is nothing without an artifact of its own kind.
    pub fn is_trained(self) -> bool {
        matches!(self.basis(), Basis::Training(_))
    }

    /// What was trained of it, from the tensors of an artifact; nothing if it is not trained.
    ///
    /// # Errors
    /// When the tensors are not those of such a model.
    pub(crate) fn read(self, weights: &Weights) -> anyhow::Result<Option<Arc<dyn Forecaster>>> {
        match self.basis() {
            Basis::Outcomes(_) => Ok(None),
            Basis::Training(read) => read(weights).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn names_are_those_of_flags_and_files_and_lead_back_to_their_kinds() {
        let names = ModelKind::ALL.map(ModelKind::as_str);
        assert_eq!(
            names,
            [
                "prior",
                "threshold",
                "logistic",
                "forest",
                "length-only",
                "mlp",
                "survival",
                "gru",
                "lstm",
                "transformer"
            ]
        );
        for kind in ModelKind::ALL {
            assert_eq!(kind.entry().0, kind);
            assert_eq!(ModelKind::parse(kind.as_str()), Some(kind));
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.as_str());
        }
        assert_eq!(ModelKind::value_variants(), ModelKind::ALL);
    }
}
