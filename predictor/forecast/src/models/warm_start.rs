//! [`WarmStart`]: what an artifact gives a model to start from.

use std::sync::Arc;

use eoscast_log::record::{Outcome, Pits};

use super::forecaster::Forecaster;
use crate::calibration::Pit;

/// What a model starts from, read from an artifact.
#[derive(Clone)]
pub struct WarmStart {
    /// First 8 hex digits of the SHA-256 of the artifact.
    pub digest: String,
    /// Names of the generating model whose replies it describes.
    pub trained_for: Vec<String>,
    /// Outcomes that the prior keeps.
    pub window: usize,
    /// Oldest first.
    pub outcomes: Vec<Outcome>,
    /// Where training requests stood in forecasts by models that had not seen them, by age.
    pub pits: [Vec<Pit>; Pits::AGES],
    /// What was trained.
    pub forecaster: Option<Arc<dyn Forecaster>>,
}

impl WarmStart {
    /// The first 32 bits of the SHA-256 of the artifact.
    pub fn mark(&self) -> u32 {
        u32::from_str_radix(&self.digest, 16).unwrap_or_default()
    }
}
