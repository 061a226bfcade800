//! [`LengthModel`]: what every model is to those that ask it, and [`ModelVersion`], which names its state.

use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};

use super::forecaster::{Asked, Memory};
use super::prior::Prior;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

/// A forecaster of natural remaining length that follows the outcomes.
///
/// Its state is a function of its artifact and of the outcomes observed, both named by [`version`](Self::version): equal
/// versions give equal answers to equal rows, bit for bit.
pub trait LengthModel: Send {
    /// The model's name, as estimates, logs and flags spell it.
    fn name(&self) -> &'static str;
    /// Names its present state: `name/algorithm[+artifact]:outcomes`.
    fn version(&self) -> Arc<str>;
    /// Names of the generating model that it was trained for; none if it serves any.
    fn trained_for(&self) -> &[String] {
        &[]
    }
    /// What is kept of a request before its first row.
    fn memory(&self) -> Memory {
        Memory::default()
    }
    /// Tokens the reply will still have if nothing cuts it; lengths that `max_tokens` rules out need not be distinguished. Called for
    /// the arrival and then once per step, in order, with the same memory.
    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> LengthDistribution;
    /// The same for several requests at once, with the same bits.
    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<LengthDistribution> {
        asked.iter_mut().map(|asked| self.predict(asked.row, asked.memory)).collect()
    }
    /// Where, if the model keeps forecasts, a reply of `length` tokens stood in the forecasts made with `memory`.
    fn pits(&self, _memory: &Memory, _length: u32) -> Option<Pits> {
        None
    }
    /// Learns how long a reply was.
    fn observe(&mut self, outcome: Outcome);
    /// What it knows of lengths before it knows anything of a request.
    fn prior(&self) -> &Prior;
}

/// The state that a [`LengthModel::version`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Everything before the outcomes: name, algorithm and artifact.
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
