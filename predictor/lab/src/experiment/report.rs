//! Means over the rounds of each policy at each load, and ratios to others, round by round.

use eoscast_sim::{CostModel, Interval, TraceRequest};
use serde::Serialize;

use super::metrics::{Mean, RunMetrics};
use super::options::ExperimentOptions;
use super::run::MeasuredRun;

/// Whom the others are compared with: LightLLM's rules and vLLM's.
pub(crate) const BASELINES: [&str; 2] = ["fcfs+past-future", "fcfs+aggressive"];

/// All that was found.
#[derive(Debug, Serialize)]
pub(crate) struct ExperimentReport {
    /// Of each run.
    pub(crate) requests: usize,
    /// Ids of requests that do not fit.
    pub(crate) left_out: Vec<String>,
    /// Means of the requests.
    pub(crate) mean_prompt_tokens: f64,
    /// Means of the requests.
    pub(crate) mean_output_tokens: f64,
    /// KV budget.
    pub(crate) kv_tokens: u32,
    /// Most requests in the batch.
    pub(crate) max_running: u32,
    /// Seconds of a step and of its parts.
    pub(crate) cost: Vec<(&'static str, f64)>,
    /// Means over the rounds.
    pub(crate) policies: Vec<PolicyRow>,
    /// Every run, in its order.
    pub(crate) runs: Vec<MeasuredRun>,
}

/// A policy at a load.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyRow {
    /// As it was asked for.
    pub(crate) policy: String,
    /// The load.
    pub(crate) rho: f64,
    /// On the worker.
    #[serde(flatten)]
    pub(crate) figures: RunMetrics<Mean>,
    /// Mean latency in the simulator.
    pub(crate) simulated_mean_latency: Mean,
    /// That over the worker's, less 1.
    pub(crate) simulated_difference: f64,
    /// Its figures over those of each baseline in the same round.
    pub(crate) ratios: Vec<Ratio>,
}

/// RunMetrics of a policy over those of another in the same round.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    /// The other.
    pub(crate) to: &'static str,
    /// Of mean latencies.
    pub(crate) mean_latency: Mean,
    /// Of 99th percentiles.
    pub(crate) p99_latency: Mean,
    /// Of mean normalised latencies.
    pub(crate) mean_normalised_latency: Mean,
}

impl ExperimentReport {
    /// Of all runs. Each policy has run in every round at every load.
    pub(crate) fn new(
        options: &ExperimentOptions,
        cost: CostModel,
        lengths: &[TraceRequest],
        left_out: Vec<String>,
        outcomes: &[MeasuredRun],
    ) -> Self {
        let mean = |of: fn(&TraceRequest) -> u32| {
            lengths.iter().map(|request| f64::from(of(request))).sum::<f64>() / lengths.len() as f64
        };
        let mut policies = Vec::new();
        for rho in &options.rho {
            for policy in 0..options.policy.len() {
                policies.push(line(options, outcomes, *rho, policy));
            }
        }
        Self {
            requests: lengths.len(),
            left_out,
            mean_prompt_tokens: mean(|request| request.prompt_tokens),
            mean_output_tokens: mean(|request| request.output_tokens),
            kv_tokens: options.kv_tokens,
            max_running: options.max_running,
            cost: cost.named().to_vec(),
            policies,
            runs: outcomes.to_vec(),
        }
    }
}

fn line(options: &ExperimentOptions, outcomes: &[MeasuredRun], rho: f64, policy: usize) -> PolicyRow {
    let of = |policy: usize| {
        let name = &options.policy[policy].name;
        let mut runs: Vec<&MeasuredRun> =
            outcomes.iter().filter(|run| run.rho == rho && run.policy == *name && run.round < options.rounds).collect();
        runs.sort_by_key(|run| run.round);
        runs
    };
    let runs = of(policy);
    let figures: Vec<_> = runs.iter().map(|run| run.measured).collect();
    let simulated: Vec<f64> = runs.iter().map(|run| run.simulated.mean_latency).collect();
    let (figures, simulated) = (RunMetrics::over(&figures), Interval::of(&simulated));
    let ratio = |to: &'static str| {
        let baseline = to.parse().ok()?;
        let baseline = of(options.policy.iter().position(|named| named.policy == baseline)?);
        let mean = |of: fn(&RunMetrics<f64>) -> f64| {
            let pairs = runs.iter().zip(&baseline);
            Interval::of(&pairs.map(|(run, other)| of(&run.measured) / of(&other.measured)).collect::<Vec<_>>()).into()
        };
        Some(Ratio {
            to,
            mean_latency: mean(|figures| figures.mean_latency),
            p99_latency: mean(|figures| figures.p99_latency),
            mean_normalised_latency: mean(|figures| figures.mean_normalised_latency),
        })
    };
    PolicyRow {
        policy: options.policy[policy].name.clone(),
        rho,
        figures,
        simulated_mean_latency: simulated.into(),
        simulated_difference: simulated.mean / figures.mean_latency.mean - 1.0,
        ratios: BASELINES.into_iter().filter_map(ratio).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::experiment::plan::plan;

    fn figures(seconds: f64) -> RunMetrics<f64> {
        RunMetrics {
            mean_latency: seconds,
            p50_latency: seconds,
            p95_latency: 2.0 * seconds,
            p99_latency: 3.0 * seconds,
            mean_normalised_latency: seconds / 100.0,
            mean_ttft: seconds / 10.0,
            p99_ttft: seconds / 5.0,
            evictions_per_100: 7.0,
            throughput: 500.0,
        }
    }

    /// A run whose latencies are of so many seconds, and a tenth longer in the simulator.
    pub(in crate::experiment) fn outcome(policy: &str, rho: f64, round: u32, seconds: f64) -> MeasuredRun {
        MeasuredRun {
            policy: policy.to_owned(),
            rho,
            round,
            offered_rho: rho,
            kv_pressure: 1.5,
            measured: figures(seconds),
            simulated: figures(1.1 * seconds),
            slowness: 1.0 + 0.05 * f64::from(round),
            different_lengths: 1,
            latest_send: 0.004,
            dropped_steps: 0,
            steps_by_estimates: 1.0,
        }
    }

    /// Two loads, three rounds; the second policy takes half as long as the first, the simulator a tenth longer than the worker.
    pub(in crate::experiment) fn report(rounds: u32) -> ExperimentReport {
        let rounds_text = rounds.to_string();
        let options = ExperimentOptions::for_test(&[
            "--rho",
            "0.5,0.9",
            "--policy",
            "fcfs+past-future,boost+risk+least-cost",
            "--rounds",
            &rounds_text,
        ])
        .unwrap();
        let planned = plan(&options.rho, options.rounds, 2).into_iter();
        let outcomes = planned.map(|run| {
            let seconds = f64::from(run.round + 1) * if run.policy == 0 { 4.0 } else { 2.0 };
            outcome(&options.policy[run.policy].name, run.rho, run.round, seconds)
        });
        let outcomes: Vec<_> = outcomes.collect();
        let request = TraceRequest { row: 0, arrival: None, prompt_tokens: 9, output_tokens: 90, max_tokens: 768 };
        ExperimentReport::new(&options, CostModel::WORKER, &[request], vec!["long".to_owned()], &outcomes)
    }

    #[test]
    fn ratios_are_taken_round_by_round_so_that_rounds_may_differ() {
        let report = report(3);
        assert_eq!((report.policies.len(), report.runs.len()), (4, 12));
        let ours = &report.policies[3];
        assert_eq!((ours.policy.as_str(), ours.rho), ("boost+risk+least-cost", 0.9));
        assert_eq!(ours.figures.mean_latency.mean, 4.0);
        assert!(ours.figures.mean_latency.half_width > 1.0, "{:?}", ours.figures.mean_latency);
        // fcfs+aggressive did not run.
        assert_eq!(ours.ratios.iter().map(|ratio| ratio.to).collect::<Vec<_>>(), ["fcfs+past-future"]);
        assert_eq!(ours.ratios[0].p99_latency, Mean { mean: 0.5, half_width: 0.0 });
        assert!((ours.simulated_difference - 0.1).abs() < 1e-9);
    }

    #[test]
    fn json_has_no_interval_for_a_single_round() {
        let json = serde_json::to_value(report(1)).unwrap();
        assert_eq!(json["policies"][0]["mean_latency"], serde_json::json!({ "mean": 4.0, "half_width": null }));
        assert_eq!(json["left_out"][0], "long");
    }
}
