//! What step events and predictor cost: each run of `bench` with and without them, in turn.

use std::fmt;

use anyhow::ensure;
use serde::Serialize;

use super::bench_args::BenchArgs;
use super::local_engine::LocalEngine;

/// Decoding without a predictor, and how much slower it is with one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct PredictorCost {
    /// Median over the repeats.
    decode_tokens_per_s_without_predictor: f64,
    /// Median over the pairs of repeats of throughput with over throughput without.
    predictor_ratio: f64,
    /// 95 % confidence interval of that.
    predictor_ratio_ci: [f64; 2],
}

/// An engine that tells no predictor, if the cost of one was asked for.
pub(super) async fn engine_without(args: &BenchArgs) -> anyhow::Result<Option<LocalEngine>> {
    ensure!(
        !args.compare_predictor || args.predictor.url().is_some(),
        "--compare-predictor needs --predictor HOST:PORT to compare with"
    );
    Ok(match args.compare_predictor {
        true => Some(LocalEngine::start("bench-without", &args.engine, None).await?),
        false => None,
    })
}

impl PredictorCost {
    /// From rates that were measured in turn; `None` if there are none without a predictor.
    pub(super) fn of_pairs(with: &[f64], without: &[f64]) -> Option<Self> {
        let ratios = sorted(with.iter().zip(without).map(|(with, without)| with / without));
        Some(Self {
            decode_tokens_per_s_without_predictor: median(&sorted(without.iter().copied()))?,
            predictor_ratio: median(&ratios)?,
            predictor_ratio_ci: median_interval(&ratios)?,
        })
    }
}

impl fmt::Display for PredictorCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.predictor_ratio_ci;
        write!(
            f,
            "{:>14.0} without the predictor: with it {:.1} % of that (95 %: {:.1}-{:.1})",
            self.decode_tokens_per_s_without_predictor,
            self.predictor_ratio * 100.0,
            low * 100.0,
            high * 100.0
        )
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// 95 % confidence interval of the median of what `sorted` was drawn from: between the values whose ranks are as far from the middle as
/// the number of values below the median may lie, by the normal approximation of its binomial distribution (Conover,
/// Practical Nonparametric Statistics, 1999, section 3.2). Of few values it is their range.
fn median_interval(sorted: &[f64]) -> Option<[f64; 2]> {
    let count = sorted.len() as f64;
    let below = ((count - 1.96 * count.sqrt()) / 2.0).max(0.0) as usize;
    Some([*sorted.get(below)?, *sorted.get(sorted.len() - 1 - below)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_median_pair() {
        let cost = PredictorCost::of_pairs(&[90.0, 99.0, 120.0], &[100.0, 100.0, 100.0]).unwrap();
        assert_eq!((cost.predictor_ratio, cost.predictor_ratio_ci), (0.99, [0.9, 1.2]));
        assert_eq!(PredictorCost::of_pairs(&[90.0], &[]), None);
    }

    #[test]
    fn the_interval_lies_as_many_ranks_from_the_median_as_chance_may_move_it() {
        let sample = |count: u32| (0..count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(median_interval(&sample(3)), Some([0.0, 2.0]));
        // Of 81 coins 31 or fewer fall heads with a probability of 2.3 %.
        assert_eq!(median_interval(&sample(81)), Some([31.0, 49.0]));
        assert_eq!(median_interval(&[]), None);
    }
}
