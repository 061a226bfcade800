//! The figures by which policies are compared.

use crate::load::Demand;
use crate::run::{SimulatedReply, SimulatedRun};
use crate::trace::Workload;

/// What a run came to. Latencies are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// From arrival to the last token, mean.
    pub mean_latency: f64,
    /// Median.
    pub p50_latency: f64,
    /// 95th percentile.
    pub p95_latency: f64,
    /// 99th percentile.
    pub p99_latency: f64,
    /// Latency over the tokens of the reply, mean: seconds a token.
    pub mean_normalised_latency: f64,
    /// From arrival to the first token, mean.
    pub mean_ttft: f64,
    /// 99th percentile.
    pub p99_ttft: f64,
    /// Preemptions for a hundred requests.
    pub evictions_per_100: f64,
    /// Tokens computed again because preemption freed their KV entries.
    pub recomputed_tokens: u64,
    /// Share of the KV budget in use, mean over the time of all steps.
    pub kv_utilisation: f64,
    /// Steps of the engine.
    pub steps: u64,
    /// Tokens generated a second, from the first arrival to the last token.
    pub throughput: f64,
    /// Load that was offered, see [`Demand::rho`].
    pub rho: f64,
    /// KV that a batch without a memory limit would hold, see [`Demand::kv_pressure`].
    pub kv_pressure: f64,
}

impl Summary {
    /// Of a run of `workload`.
    pub fn of(run: &SimulatedRun, workload: &Workload, demand: &Demand) -> Self {
        let replies = &run.replies;
        let count = replies.len().max(1) as f64;
        let latency = Sorted::of(replies.iter().map(SimulatedReply::latency));
        let ttft = Sorted::of(replies.iter().map(|reply| reply.first_token - reply.arrival));
        let normalised = replies.iter().map(|reply| reply.latency() / f64::from(reply.output_tokens));
        let tokens: u64 = replies.iter().map(|reply| u64::from(reply.output_tokens)).sum();
        let preemptions: u64 = replies.iter().map(|reply| u64::from(reply.preemptions)).sum();
        let seconds = replies.iter().map(|reply| reply.end).fold(0.0, f64::max);
        let rate = workload.rate();
        Self {
            mean_latency: latency.mean(),
            p50_latency: latency.percentile(50.0),
            p95_latency: latency.percentile(95.0),
            p99_latency: latency.percentile(99.0),
            mean_normalised_latency: normalised.sum::<f64>() / count,
            mean_ttft: ttft.mean(),
            p99_ttft: ttft.percentile(99.0),
            evictions_per_100: 100.0 * preemptions as f64 / count,
            recomputed_tokens: run.recomputed_tokens,
            kv_utilisation: run.kv_use.mean(),
            steps: run.steps,
            throughput: tokens as f64 / seconds,
            rho: demand.rho(rate),
            kv_pressure: demand.kv_pressure(rate),
        }
    }
}

impl SimulatedReply {
    /// Seconds from arrival to the last token.
    pub fn latency(&self) -> f64 {
        self.end - self.arrival
    }
}

struct Sorted(Vec<f64>);

impl Sorted {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Linear between the two nearest ranks; 0 of nothing.
    fn percentile(&self, percent: f64) -> f64 {
        let place = percent / 100.0 * self.0.len().saturating_sub(1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        let at = |rank: usize| self.0.get(rank).copied().unwrap_or(0.0);
        at(low) + (at(high) - at(low)) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_nearest_ranks() {
        let sorted = Sorted::of([4.0, 1.0, 3.0, 2.0, 5.0].into_iter());
        assert_eq!((sorted.percentile(50.0), sorted.percentile(100.0), sorted.mean()), (3.0, 5.0, 3.0));
        assert!((sorted.percentile(95.0) - 4.8).abs() < 1e-12);
        assert_eq!(Sorted::of(std::iter::empty()).percentile(99.0), 0.0);
    }
}
