//! What step events and predictor cost: each run of `bench` with and without them, in turn.

use std::fmt;

use anyhow::ensure;
use serde::Serialize;

use super::bench::BenchArgs;
use super::local_engine::LocalEngine;

/// Decoding without a predictor, and how much slower it is with one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct PredictorCost {
    /// Median over the repeats.
    decode_tokens_per_s_without_predictor: f64,
    /// Median over the pairs of repeats of throughput with over throughput without.
    predictor_ratio: f64,
    /// Lowest and highest pair.
    predictor_ratio_range: [f64; 2],
}

/// An engine that tells no predictor, if the cost of one was asked for.
pub(super) async fn engine_without(args: &BenchArgs) -> anyhow::Result<Option<LocalEngine>> {
    ensure!(
        !args.compare_predictor || args.predictor != "none",
        "--compare-predictor needs --predictor with the URL of one to compare with"
    );
    Ok(match args.compare_predictor {
        true => Some(LocalEngine::start("bench-without", &args.engine, "none").await?),
        false => None,
    })
}

impl PredictorCost {
    /// From rates that were measured in turn; `None` if there are none without a predictor.
    pub(super) fn of_pairs(with: &[f64], without: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = with.iter().zip(without).map(|(with, without)| with / without).collect();
        let (ratio, range) = median_and_range(ratios)?;
        Some(Self {
            decode_tokens_per_s_without_predictor: median_and_range(without.to_vec())?.0,
            predictor_ratio: ratio,
            predictor_ratio_range: range,
        })
    }
}

impl fmt::Display for PredictorCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.predictor_ratio_range;
        write!(
            f,
            "{:>14.0} without the predictor: with it {:.1} % of that ({:.1}-{:.1} %)",
            self.decode_tokens_per_s_without_predictor,
            self.predictor_ratio * 100.0,
            low * 100.0,
            high * 100.0
        )
    }
}

fn median_and_range(mut values: Vec<f64>) -> Option<(f64, [f64; 2])> {
    values.sort_by(f64::total_cmp);
    Some((*values.get(values.len() / 2)?, [*values.first()?, *values.last()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_median_pair() {
        let cost = PredictorCost::of_pairs(&[90.0, 99.0, 120.0], &[100.0, 100.0, 100.0]).unwrap();
        assert_eq!((cost.predictor_ratio, cost.predictor_ratio_range), (0.99, [0.9, 1.2]));
        assert_eq!(PredictorCost::of_pairs(&[90.0], &[]), None);
    }
}
