//! Models that forecast remaining length. A new one is a file here, a [`ModelKind`] and an arm in [`ModelKind::build`].

pub mod artifact;
pub mod attention;
pub mod dense;
pub mod forest;
pub mod gru;
pub mod head;
pub mod logistic;
pub mod lstm;
pub mod mlp;
mod prior;
pub mod product;
pub mod sequence;
mod serving;
mod shipped;
mod threshold;
mod trained;
pub mod transformer;
pub mod weights;

pub use artifact::Artifact;
pub use prior::Prior;
pub use serving::Serving;
pub use shipped::Source;
pub use threshold::Threshold;
pub use trained::Trained;

use std::collections::VecDeque;
use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};

use crate::calibration::Kept;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use head::BINS;

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

/// What a model keeps of one request between its steps.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Means something to the model only; a fixed number of values, none for most models.
    pub numbers: Box<[f32]>,
    /// Forecasts that the outcome will judge.
    pub kept: Kept,
}

impl Memory {
    /// With these values.
    pub fn of(numbers: &[f32]) -> Self {
        Self { numbers: numbers.into(), kept: Kept::default() }
    }
}

/// A request that a model is asked about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its present row.
    pub row: &'a FeatureRow,
    /// What the model kept of the rows before.
    pub memory: &'a mut Memory,
}

/// What was trained of a model: a fixed function of the rows of a request, in order.
pub trait Forecaster: Send + Sync {
    /// What it keeps of a request before the first row.
    fn memory(&self) -> Memory {
        Memory::default()
    }
    /// Probabilities of the bins of the [`head`] for natural remaining length. Called for the arrival of a request and then once
    /// per step, in order, with the same memory; equal rows in equal order give equal answers, bit for bit.
    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> [f32; BINS];
    /// The same for several requests at once, with the same bits.
    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<[f32; BINS]> {
        asked.iter_mut().map(|asked| self.predict(asked.row, asked.memory)).collect()
    }
}

/// A forecaster of natural remaining length that follows the outcomes.
///
/// Its state is a function of its artifact and of the outcomes observed, both named by [`version`](Self::version): equal
/// versions give equal answers to equal rows, bit for bit.
pub trait LengthModel: Send {
    /// Which model it is.
    fn kind(&self) -> ModelKind;
    /// Names its present state: `kind/algorithm[+artifact]:outcomes`.
    fn version(&self) -> Arc<str>;
    /// Names of the generating model that it was trained for; none if it serves any.
    fn trained_for(&self) -> &[String] {
        &[]
    }
    /// What is kept of a request before its first row.
    fn memory(&self) -> Memory {
        Memory::default()
    }
    /// Tokens the reply will still have if nothing cuts it; lengths that `max_tokens` rules out need not be told apart. Called for
    /// the arrival and then once per step, in order, with the same memory.
    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> LengthDistribution;
    /// The same for several requests at once, with the same bits.
    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<LengthDistribution> {
        asked.iter_mut().map(|asked| self.predict(asked.row, asked.memory)).collect()
    }
    /// Where a reply of `length` tokens stood in the forecasts made with `memory`, if it wants to be told.
    fn pits(&self, _memory: &Memory, _length: u32) -> Option<Pits> {
        None
    }
    /// Learns how long a reply was.
    fn observe(&mut self, outcome: Outcome);
    /// What it knows of lengths before it knows anything of a request.
    fn prior(&self) -> &Prior;
}

/// The models there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum ModelKind {
    /// Lengths of past replies, conditioned on the length so far.
    Prior,
    /// The prior, until the EOS probability says that the end is near.
    Threshold,
    /// Logistic regressions on the present row.
    Logistic,
    /// Random forests on the present row.
    Forest,
    /// A network that sees lengths only: what EOS signals have to beat.
    LengthOnly,
    /// A network on the present row, without sketches.
    Mlp,
    /// Averaged networks on all that is known.
    Survival,
    /// A recurrent network with gated units.
    Gru,
    /// A recurrent network with long short-term memory.
    Lstm,
    /// A causal transformer over the last steps.
    Transformer,
}

impl ModelKind {
    /// All, those first that are trained sooner.
    pub const ALL: [Self; 10] = [
        Self::Prior,
        Self::Threshold,
        Self::Logistic,
        Self::Forest,
        Self::LengthOnly,
        Self::Mlp,
        Self::Survival,
        Self::Gru,
        Self::Lstm,
        Self::Transformer,
    ];

    /// As estimates, logs and flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Threshold => "threshold",
            Self::Logistic => "logistic",
            Self::Forest => "forest",
            Self::LengthOnly => "length-only",
            Self::Mlp => "mlp",
            Self::Survival => "survival",
            Self::Gru => "gru",
            Self::Lstm => "lstm",
            Self::Transformer => "transformer",
        }
    }

    /// The kind that [`as_str`](Self::as_str) spells.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is nothing without an artifact of its own kind.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Prior | Self::Threshold)
    }

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

    /// What was trained of it, from the tensors of an artifact; nothing if it is not trained.
    ///
    /// # Errors
    /// When the tensors are not those of such a model.
    pub fn read(self, weights: &weights::Weights) -> anyhow::Result<Option<Arc<dyn Forecaster>>> {
        Ok(Some(match self {
            Self::Prior | Self::Threshold => return Ok(None),
            Self::Logistic => Arc::new(logistic::Logistic::read(weights)?),
            Self::Forest => Arc::new(forest::Forest::read(weights)?),
            Self::LengthOnly | Self::Mlp | Self::Survival => Arc::new(mlp::Mlp::read(weights)?),
            Self::Gru | Self::Lstm | Self::Transformer => Arc::new(sequence::Sequence::read(self, weights)?),
        }))
    }

    /// The model after the outcomes of `history`, from what `artifact` holds. Without what [`check`](Self::check) asks for, the
    /// prior.
    pub fn build(self, artifact: Option<&Artifact>, history: &History) -> Box<dyn LengthModel> {
        let forecaster = artifact.and_then(|artifact| Some((artifact, artifact.forecaster.clone()?)));
        match (self, forecaster) {
            (Self::Prior, _) => Box::new(Prior::new(self, artifact, history)),
            (Self::Threshold, _) => Box::new(Threshold::new(Prior::new(self, artifact, history))),
            (kind, Some((artifact, forecaster))) if artifact.kind == kind => {
                Box::new(Trained::new(kind, forecaster, artifact, history))
            }
            _ => Box::new(Prior::new(Self::Prior, artifact, history)),
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
    /// Everything before the outcomes in the version of `model`.
    pub fn family_of(model: &dyn LengthModel) -> String {
        Self::family_in(&model.version()).to_owned()
    }

    /// Everything before the outcomes in a version; nothing if it is none.
    pub fn family_in(version: &str) -> &str {
        version.rsplit_once(':').map_or("", |(family, _)| family)
    }

    /// Reads what [`LengthModel::version`] wrote.
    pub fn parse(version: &str) -> Option<Self> {
        let (family, outcomes) = version.rsplit_once(':')?;
        Some(Self { family: family.to_owned(), outcomes: outcomes.parse().ok()? })
    }
}
