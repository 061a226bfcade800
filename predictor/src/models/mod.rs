//! Models that forecast remaining length. A new one is a file here, a [`ModelKind`] and an arm in [`ModelKind::build`].

mod artifact;
mod prior;
mod threshold;

pub use artifact::Artifact;
pub use prior::Prior;
pub use threshold::Threshold;

use std::collections::VecDeque;
use std::sync::Arc;

use eoscast_log::record::Outcome;

use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

/// Most outcomes that any model looks back on.
pub const LONGEST_WINDOW: usize = 10_000;

/// The outcomes so far: how many there were, and the last of them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Outcomes since the event log began.
    pub seen: u64,
    /// How many of them were censored.
    pub censored: u64,
    /// The last [`LONGEST_WINDOW`], oldest first.
    pub recent: VecDeque<Outcome>,
}

impl History {
    /// Adds the next outcome.
    pub fn push(&mut self, outcome: Outcome) {
        // A damaged log may have claimed any number.
        self.seen = self.seen.saturating_add(1);
        self.censored = self.censored.saturating_add(u64::from(outcome.censored));
        if self.recent.len() == LONGEST_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(outcome);
    }
}

/// A forecaster of natural remaining length.
///
/// Its state is a function of its artifact and of the outcomes observed, both named by [`version`](Self::version): equal
/// versions give equal answers to equal rows, bit for bit.
pub trait LengthModel: Send {
    /// Which model it is.
    fn kind(&self) -> ModelKind;
    /// Names its present state: `kind/algorithm[+artifact]:outcomes`.
    fn version(&self) -> Arc<str>;
    /// Tokens the reply will still have if nothing cuts it.
    fn predict(&self, row: &FeatureRow) -> LengthDistribution;
    /// Learns how long a reply was.
    fn observe(&mut self, outcome: Outcome);
    /// What it knows of lengths before it knows anything of a request.
    fn prior(&self) -> &Prior;
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ModelKind {
    /// Lengths of past replies, conditioned on the length so far.
    Prior,
    /// The prior, until the EOS probability says that the end is near.
    Threshold,
}

impl ModelKind {
    /// As estimates, logs and flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Threshold => "threshold",
        }
    }

    /// The kind that [`as_str`](Self::as_str) spells.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Prior, Self::Threshold].into_iter().find(|kind| kind.as_str() == name)
    }

    /// The model after the outcomes of `history`, warmed by `artifact` where these are few.
    pub fn build(self, artifact: Option<&Artifact>, history: &History) -> Box<dyn LengthModel> {
        let prior = Prior::new(self, artifact, history);
        match self {
            Self::Prior => Box::new(prior),
            Self::Threshold => Box::new(Threshold::new(prior)),
        }
    }
}

/// The state that a [`LengthModel::version`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Everything before the outcomes: kind, algorithm and artifact.
    pub family: String,
    /// Outcomes observed.
    pub outcomes: u64,
}

impl ModelVersion {
    /// Reads what [`LengthModel::version`] wrote.
    pub fn parse(version: &str) -> Option<Self> {
        let (family, outcomes) = version.rsplit_once(':')?;
        Some(Self { family: family.to_owned(), outcomes: outcomes.parse().ok()? })
    }
}
