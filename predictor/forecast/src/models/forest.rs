//! `forest`: one random forest for each of some horizons, on the present row.

use std::sync::Arc;

use anyhow::ensure;

use super::forecaster::{Forecaster, Memory};
use super::head::BINS;
use super::horizons::through_horizons;
use super::weights::Weights;
use crate::features::{FEATURE_NAMES, FeatureRow};

/// Horizons in tokens: each has a forest for "more than this are to come".
pub(crate) const HORIZONS: [u32; 7] = [1, 8, 16, 64, 128, 256, 512];

/// A node of a tree: a question, or at the end an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Which feature is asked for.
    pub feature: u32,
    /// Up to this the answer is yes.
    pub threshold: f32,
    /// Node to go on with after yes; after no it is the one behind. 0 at the end.
    pub yes: u32,
    /// Share of the training rows here for which more than the horizon were to come.
    pub output: f32,
}

/// Forests of P(length > horizon), on all features but the sketches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest {
    /// The nodes of all trees; children stand behind their parents.
    pub nodes: Vec<Node>,
    /// The first node of each tree, by horizon.
    pub roots: Vec<Vec<u32>>,
}

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(Forest::read(weights)?))
}

impl Forest {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of such a model.
    pub(crate) fn read(weights: &Weights) -> anyhow::Result<Self> {
        let (shape, values) = weights.get("nodes")?;
        ensure!(matches!(shape, [_, 4]), "tensor nodes: must have four columns, has the shape {shape:?}");
        let nodes: Vec<Node> = values
            .as_chunks()
            .0
            .iter()
            .map(|[feature, threshold, yes, output]| Node {
                feature: *feature as u32,
                threshold: *threshold,
                yes: *yes as u32,
                output: *output,
            })
            .collect();
        for (i, node) in nodes.iter().enumerate() {
            let yes = node.yes as usize;
            ensure!(
                (node.feature as usize) < FEATURE_NAMES.len() && (yes == 0 || (yes > i && yes + 1 < nodes.len())),
                "tensor nodes: row {i} asks for a feature or leads to a node that there is not"
            );
        }
        let mut roots = vec![];
        for horizon in HORIZONS {
            let name = format!("roots.{horizon}");
            let of_horizon: Vec<u32> = weights.get(&name)?.1.into_iter().map(|root| root as u32).collect();
            ensure!(
                !of_horizon.is_empty() && of_horizon.iter().all(|root| (*root as usize) < nodes.len()),
                "tensor {name}: must name nodes below {}",
                nodes.len()
            );
            roots.push(of_horizon);
        }
        Ok(Self { nodes, roots })
    }

    /// The tensors of an artifact.
    pub(crate) fn write(&self, weights: &mut Weights) {
        let nodes: Vec<_> =
            self.nodes.iter().map(|n| [n.feature as f32, n.threshold, n.yes as f32, n.output]).collect();
        weights.put("nodes", &[nodes.len(), 4], nodes.as_flattened());
        for (horizon, roots) in HORIZONS.iter().zip(&self.roots) {
            let roots: Vec<f32> = roots.iter().map(|root| *root as f32).collect();
            weights.put(format!("roots.{horizon}"), &[roots.len()], &roots);
        }
    }

    fn answer(&self, root: u32, values: &[f32; FEATURE_NAMES.len()]) -> f32 {
        let mut node = &self.nodes[root as usize];
        while node.yes != 0 {
            let no = u32::from(values[node.feature as usize] > node.threshold);
            node = &self.nodes[(node.yes + no) as usize];
        }
        node.output
    }
}

impl Forecaster for Forest {
    fn predict(&self, row: &FeatureRow, _memory: &mut Memory) -> [f32; BINS] {
        let survival: Vec<f64> = self
            .roots
            .iter()
            .map(|roots| {
                let sum: f64 = roots.iter().map(|root| f64::from(self.answer(*root, &row.values))).sum();
                sum / roots.len() as f64
            })
            .collect();
        through_horizons(&HORIZONS, &survival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureState;
    use crate::models::head::distribution;
    use eoscast_log::record::Arrival;

    fn forest() -> Forest {
        let leaf = |output| Node { feature: 0, threshold: 0.0, yes: 0, output };
        // Feature 33 is the length of the prompt.
        let nodes = vec![Node { feature: 33, threshold: 20.0, yes: 1, output: 0.5 }, leaf(0.2), leaf(0.8)];
        Forest { nodes, roots: vec![vec![0]; HORIZONS.len()] }
    }

    fn survival(prompt_length: u32) -> f64 {
        let arrival = Arrival { prompt_length: Some(prompt_length), ..Arrival::for_test() };
        distribution(&forest().predict(&FeatureState::new(arrival, 0).row(), &mut Memory::default())).survival(16.0)
    }

    #[test]
    fn a_tree_is_followed_to_its_answer() {
        assert!((survival(20) - 0.2).abs() < 1e-6 && (survival(21) - 0.8).abs() < 1e-6);
    }

    #[test]
    fn trees_that_lead_nowhere_or_in_circles_are_refused() {
        let mut weights = Weights::default();
        forest().write(&mut weights);
        assert_eq!(Forest::read(&weights).unwrap(), forest());
        for (column, value) in [(0, 1e6), (2, 2.0), (2, 0.5), (2, -1.0)] {
            let mut nodes = weights.get("nodes").unwrap().1;
            nodes[column] = value;
            let mut damaged = weights.clone();
            damaged.put("nodes", &[3, 4], &nodes);
            let read = Forest::read(&damaged);
            // Fractions and negative numbers are cut to whole ones, here to 0: an end.
            assert!(read.is_err() || read.unwrap().nodes[0].yes == 0);
        }
    }
}
