//! `survival`: networks over all that is known, averaged.

use anyhow::ensure;

use super::dense::Perceptron;
use super::head::{BINS, softmax};
use super::weights::Weights;
use super::{Asked, Forecaster, Memory};
use crate::features::FeatureRow;

const MOST_MEMBERS: usize = 16;

/// Networks that were trained on different parts of the data.
pub struct Survival {
    /// Their probabilities are averaged (a deep ensemble: Lakshminarayanan et al., NeurIPS 2017).
    pub members: Vec<Perceptron>,
}

impl Survival {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a model.
    pub fn read(weights: &Weights) -> anyhow::Result<Self> {
        let mut members = vec![Perceptron::read("member0", weights)?];
        while weights.contains(&format!("member{}.0.bias", members.len())) {
            ensure!(members.len() < MOST_MEMBERS, "it has more than {MOST_MEMBERS} networks");
            members.push(Perceptron::read(&format!("member{}", members.len()), weights)?);
        }
        Ok(Self { members })
    }

    /// The tensors of an artifact.
    pub fn write(&self, weights: &mut Weights) {
        for (i, member) in self.members.iter().enumerate() {
            member.write(&format!("member{i}"), weights);
        }
    }

    /// What the networks say of each row.
    pub fn probabilities(&self, rows: &[[f32; FeatureRow::INPUTS]]) -> Vec<[f32; BINS]> {
        let mut mean = vec![[0.0; BINS]; rows.len()];
        let share = 1.0 / self.members.len() as f32;
        for member in &self.members {
            for (mean, mut scores) in mean.iter_mut().zip(member.scores(rows.iter())) {
                softmax(&mut scores);
                mean.iter_mut().zip(scores).for_each(|(mean, p)| *mean += p * share);
            }
        }
        mean
    }
}

impl Forecaster for Survival {
    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> [f32; BINS] {
        self.probabilities(&[row.inputs()])[0]
    }

    fn predict_all(&self, asked: &mut [&mut Asked]) -> Vec<[f32; BINS]> {
        self.probabilities(&asked.iter().map(|asked| asked.row.inputs()).collect::<Vec<_>>())
    }
}
