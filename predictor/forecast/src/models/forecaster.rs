//! [`Forecaster`]: what was trained of a model, and what it keeps of each request.

use super::head::BINS;
use crate::calibration::Kept;
use crate::features::FeatureRow;

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
    /// Probabilities of the bins of the `head` for natural remaining length. Called for the arrival of a request and then once
    /// per step, in order, with the same memory; equal rows in equal order give equal answers, bit for bit.
    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> [f32; BINS];
    /// The same for several requests at once, with the same bits.
    fn predict_all(&self, asked: &mut [&mut Asked<'_>]) -> Vec<[f32; BINS]> {
        asked.iter_mut().map(|asked| self.predict(asked.row, asked.memory)).collect()
    }
}
