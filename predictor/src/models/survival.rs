//! `survival`: the model that serves by default. Networks over all that is known, averaged, then a Bayes filter over steps.

use anyhow::ensure;

use super::dense::Perceptron;
use super::filter::Filter;
use super::head::{BINS, distribution, softmax};
use super::weights::Weights;
use super::{Forecaster, Memory};
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;

/// Name of the filter's gain among the tensors.
const GAIN: &str = "gain";
const MOST_MEMBERS: usize = 16;

/// Networks that were trained on different parts of the data, and the filter behind them.
pub struct Survival {
    /// Their probabilities are averaged (a deep ensemble: Lakshminarayanan et al., NeurIPS 2017).
    pub members: Vec<Perceptron>,
    /// Over the steps of a request.
    pub filter: Filter,
}

impl Survival {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a model.
    pub fn read(weights: &Weights) -> anyhow::Result<Self> {
        let gain = weights.get_shaped(GAIN, &[1])?[0];
        ensure!(gain > 0.0 && gain <= 1.0, "tensor {GAIN}: must be above 0 and at most 1, is {gain}");
        let mut members = vec![Perceptron::read("member0", weights)?];
        while weights.contains(&format!("member{}.0.bias", members.len())) {
            ensure!(members.len() < MOST_MEMBERS, "it has more than {MOST_MEMBERS} networks");
            members.push(Perceptron::read(&format!("member{}", members.len()), weights)?);
        }
        Ok(Self { members, filter: Filter { gain } })
    }

    /// The tensors of an artifact.
    pub fn write(&self, weights: &mut Weights) {
        weights.put(GAIN, &[1], &[self.filter.gain]);
        for (i, member) in self.members.iter().enumerate() {
            member.write(&format!("member{i}"), weights);
        }
    }

    /// What the networks say of one row, without the filter.
    pub fn probabilities(&self, inputs: &[f32; FeatureRow::INPUTS]) -> [f32; BINS] {
        let mut mean = [0.0; BINS];
        for member in &self.members {
            let mut probabilities = member.scores(inputs);
            softmax(&mut probabilities);
            mean.iter_mut().zip(probabilities).for_each(|(mean, p)| *mean += p / self.members.len() as f32);
        }
        mean
    }
}

impl Forecaster for Survival {
    fn memory(&self) -> Memory {
        Memory::of(&Filter::unknown())
    }

    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> LengthDistribution {
        let mut probabilities = self.probabilities(&row.inputs());
        self.filter.update(&mut memory.numbers, row.step, &mut probabilities);
        distribution(&probabilities)
    }
}
