//! Fits logistic regressions and random forests with smartcore.

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

use super::rows::Rows;
use crate::features::FEATURE_NAMES;
use crate::models::dense::{Dense, Standardiser};
use crate::models::forest::{self, Forest, Node};
use crate::models::logistic::{self, Logistic};

/// Most rows that a regression or forest is fitted to.
const MOST_ROWS: usize = 24_000;
/// Weight of the squared coefficients.
const RIDGE: f32 = 1.0;
const TREES: usize = 40;
const DEPTH: u16 = 9;
const LEAST_LEAF: usize = 25;

/// Rows for one horizon, drawn by weight, as smartcore's regression takes none: (row, whether more than `horizon` came). Rows
/// of cut replies of which that is not known are left out.
fn labelled(rows: &Rows, horizon: u32, random: &mut fastrand::Rng) -> Vec<(usize, bool)> {
    let known: Vec<(usize, bool)> = (0..rows.len())
        .filter_map(|i| {
            let target = rows.targets[i];
            let longer = target.remaining > horizon || (target.remaining == horizon && !target.ended);
            (target.ended || longer).then_some((i, longer))
        })
        .collect();
    let total: f64 = known.iter().map(|(i, _)| f64::from(rows.weights[*i])).sum();
    let count = known.len().min(MOST_ROWS);
    // Systematic sampling: evenly spaced points on the line of all weights.
    let (mut drawn, mut sum, start) = (vec![], 0.0, random.f64());
    for (i, longer) in known {
        sum += f64::from(rows.weights[i]) / total * count as f64;
        while (drawn.len() as f64) + start < sum && drawn.len() < count {
            drawn.push((i, longer));
        }
    }
    drawn
}

/// Log-odds where all replies lie on one side of a horizon.
const CERTAIN: f32 = 10.0;

/// Fits one regression per horizon to all features but the sketches.
///
/// # Errors
/// When the fit fails.
pub(crate) fn logistic(rows: &Rows, seed: u64, progress: &mut dyn FnMut(String)) -> anyhow::Result<Logistic> {
    let mut random = fastrand::Rng::with_seed(seed);
    let inputs = Standardiser::fit((0..FEATURE_NAMES.len() as u32).collect(), &rows.weighted());
    let outputs = logistic::HORIZONS.len();
    let mut weights = vec![0.0; inputs.columns.len() * outputs];
    let mut bias = vec![0.0; outputs];
    for (k, horizon) in logistic::HORIZONS.into_iter().enumerate() {
        let drawn = labelled(rows, horizon, &mut random);
        let longer = drawn.iter().filter(|(_, longer)| *longer).count();
        progress(format!("horizon {horizon}, {} rows, {longer} with more to come", drawn.len()));
        if longer == 0 || longer == drawn.len() {
            // Nothing to tell apart: all but certain, whatever the row.
            bias[k] = if longer == 0 { -CERTAIN } else { CERTAIN };
            continue;
        }
        let (mut x, mut row) = (vec![], vec![]);
        for (i, _) in &drawn {
            inputs.apply(rows.input(*i), &mut row);
            x.extend_from_slice(&row);
        }
        // In f32: smartcore stops only where the loss no longer changes or its gradient is below 1e-8, for which f64 takes far longer.
        let x = DenseMatrix::new(drawn.len(), inputs.columns.len(), x, false)?;
        let y: Vec<i32> = drawn.iter().map(|(_, longer)| i32::from(*longer)).collect();
        let parameters = LogisticRegressionParameters::default().with_alpha(RIDGE);
        let fitted = LogisticRegression::fit(&x, &y, parameters)
            .map_err(|error| anyhow!("logistic regression for horizon {horizon}: {error}"))?;
        bias[k] = *fitted.intercept().get((0, 0));
        for j in 0..inputs.columns.len() {
            weights[j * outputs + k] = *fitted.coefficients().get((0, j));
        }
    }
    Ok(Logistic { inputs, log_odds: Dense::new(&weights, &bias) })
}

/// What smartcore writes of a forest.
#[derive(Deserialize)]
struct Written {
    forest_regressor: WrittenForest,
}

#[derive(Deserialize)]
struct WrittenForest {
    trees: Vec<WrittenTree>,
}

#[derive(Deserialize)]
struct WrittenTree {
    nodes: Vec<WrittenNode>,
}

#[derive(Deserialize)]
struct WrittenNode {
    output: f32,
    split_feature: u32,
    split_value: Option<f32>,
    true_child: Option<u32>,
    false_child: Option<u32>,
}

/// Fits one forest per horizon to all features but the sketches.
///
/// # Errors
/// When smartcore refuses the rows.
pub(crate) fn forest(rows: &Rows, seed: u64, progress: &mut dyn FnMut(String)) -> anyhow::Result<Forest> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut nodes, mut roots) = (vec![], vec![]);
    for horizon in forest::HORIZONS {
        let drawn = labelled(rows, horizon, &mut random);
        progress(format!("horizon {horizon}, {} rows", drawn.len()));
        // As rows have what is not known, which smartcore cannot take as such.
        let known = |value: &f32| if value.is_nan() { 0.0 } else { *value };
        let x: Vec<f32> =
            drawn.iter().flat_map(|(i, _)| rows.input(*i)[..FEATURE_NAMES.len()].iter().map(known)).collect();
        let x = DenseMatrix::new(drawn.len(), FEATURE_NAMES.len(), x, false)?;
        let y: Vec<f32> = drawn.iter().map(|(_, longer)| f32::from(u8::from(*longer))).collect();
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(DEPTH)
            .with_min_samples_leaf(LEAST_LEAF)
            .with_m(FEATURE_NAMES.len() / 4)
            .with_seed(random.u64(..));
        let fitted = RandomForestRegressor::fit(&x, &y, parameters)
            .map_err(|error| anyhow!("forest for horizon {horizon}: {error}"))?;
        // Its trees are private, but it writes them in full.
        let written: Written = serde_json::from_value(serde_json::to_value(&fitted)?)
            .context("this version of smartcore writes forests in another way")?;
        let mut of_horizon = vec![];
        for tree in written.forest_regressor.trees {
            let root = nodes.len() as u32;
            of_horizon.push(root);
            for node in tree.nodes {
                ensure!(
                    node.false_child == node.true_child.map(|child| child + 1),
                    "this version of smartcore orders the nodes of a tree in another way"
                );
                nodes.push(Node {
                    feature: node.split_feature,
                    threshold: node.split_value.unwrap_or(0.0),
                    yes: node.true_child.map_or(0, |child| root + child),
                    output: node.output,
                });
            }
        }
        roots.push(of_horizon);
    }
    Ok(Forest { nodes, roots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head::Target;

    #[test]
    fn rows_are_drawn_by_weight_and_unknown_labels_are_left_out() {
        let target = |remaining, ended| Target { remaining, ended };
        let rows = Rows {
            inputs: vec![],
            targets: vec![target(3, true), target(9, true), target(3, false), target(8, false)],
            weights: vec![1.0, 2.0, 1.0, 1.0],
        };
        let drawn = labelled(&rows, 8, &mut fastrand::Rng::with_seed(1));
        assert!(drawn.iter().all(|(i, longer)| *i != 2 && *longer == (*i != 0)), "{drawn:?}");
        assert_eq!(drawn.len(), 3);
        assert!(drawn.iter().filter(|(i, _)| *i == 1).count() >= 1);
    }
}
