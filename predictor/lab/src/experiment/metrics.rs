//! What is reported of a run, on the worker or in the simulator.

use eoscast_sim::{Interval, Summary};
use serde::{Deserialize, Serialize};

/// RunMetrics of one run, or means over runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunMetrics<T> {
    /// Seconds from arrival to the last token, mean.
    pub(crate) mean_latency: T,
    /// Median.
    pub(crate) p50_latency: T,
    /// 95th percentile.
    pub(crate) p95_latency: T,
    /// 99th percentile.
    pub(crate) p99_latency: T,
    /// Latency over the tokens of the reply, seconds a token, mean.
    pub(crate) mean_normalised_latency: T,
    /// Seconds to the first token, mean.
    pub(crate) mean_ttft: T,
    /// 99th percentile.
    pub(crate) p99_ttft: T,
    /// Preemptions for a hundred requests.
    pub(crate) evictions_per_100: T,
    /// Tokens generated a second.
    pub(crate) throughput: T,
}

/// A mean over rounds, with half the width of its 95 % confidence interval: null for a single round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Mean {
    /// The mean.
    pub(crate) mean: f64,
    /// Half the width.
    pub(crate) half_width: f64,
}

impl From<Interval> for Mean {
    fn from(Interval { mean, half_width }: Interval) -> Self {
        Self { mean, half_width }
    }
}

impl From<Summary> for RunMetrics<f64> {
    fn from(summary: Summary) -> Self {
        Self {
            mean_latency: summary.mean_latency,
            p50_latency: summary.p50_latency,
            p95_latency: summary.p95_latency,
            p99_latency: summary.p99_latency,
            mean_normalised_latency: summary.mean_normalised_latency,
            mean_ttft: summary.mean_ttft,
            p99_ttft: summary.p99_ttft,
            evictions_per_100: summary.evictions_per_100,
            throughput: summary.throughput,
        }
    }
}

impl RunMetrics<Mean> {
    /// Means over runs.
    pub(crate) fn over(runs: &[RunMetrics<f64>]) -> Self {
        let mean = |of: fn(&RunMetrics<f64>) -> f64| Interval::of(&runs.iter().map(of).collect::<Vec<_>>()).into();
        Self {
            mean_latency: mean(|run| run.mean_latency),
            p50_latency: mean(|run| run.p50_latency),
            p95_latency: mean(|run| run.p95_latency),
            p99_latency: mean(|run| run.p99_latency),
            mean_normalised_latency: mean(|run| run.mean_normalised_latency),
            mean_ttft: mean(|run| run.mean_ttft),
            p99_ttft: mean(|run| run.p99_ttft),
            evictions_per_100: mean(|run| run.evictions_per_100),
            throughput: mean(|run| run.throughput),
        }
    }
}
