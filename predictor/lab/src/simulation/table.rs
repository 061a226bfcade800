//! The results of a sweep as text, and as JSON.

use eoscast_sim::{Interval, Summary};
use serde::Serialize;

use super::sweep::{Sweep, SweepRun};

/// What the table shows: heading, unit factor, decimals, and the figure.
type Column = (&'static str, usize, fn(&Summary) -> f64);

const COLUMNS: [Column; 9] = [
    ("latency s", 2, |summary| summary.mean_latency),
    ("P99 s", 2, |summary| summary.p99_latency),
    ("ms/token", 1, |summary| 1e3 * summary.mean_normalised_latency),
    ("TTFT s", 2, |summary| summary.mean_ttft),
    ("evicted/100", 1, |summary| summary.evictions_per_100),
    ("recomputed", 0, |summary| summary.recomputed_tokens as f64),
    ("KV %", 1, |summary| 100.0 * summary.kv_utilisation),
    ("steps", 0, |summary| summary.steps as f64),
    ("tokens/s", 1, |summary| summary.throughput),
];

/// One run, with the keys that others read.
#[derive(Debug, Serialize)]
struct SweepRow<'a> {
    policy: &'a str,
    load: String,
    seed: u64,
    mean_latency: f64,
    p50_latency: f64,
    p95_latency: f64,
    p99_latency: f64,
    mean_normalised_latency: f64,
    mean_ttft: f64,
    p99_ttft: f64,
    evictions_per_100: f64,
    recomputed_tokens: u64,
    kv_utilisation: f64,
    steps: u64,
    throughput: f64,
    rho: f64,
    kv_pressure: f64,
}

#[derive(Debug, Serialize)]
struct SweepReport<'a> {
    policies: Vec<SweepRow<'a>>,
}

/// Every run as one JSON object: seconds, tokens, shares.
///
/// # Errors
/// Never for numbers as a simulation gives them.
pub(crate) fn json(sweep: &Sweep, outcomes: &[SweepRun]) -> serde_json::Result<String> {
    let entry = |outcome: &SweepRun| {
        let Summary { mean_latency, p50_latency, p95_latency, p99_latency, .. } = outcome.summary;
        let Summary { mean_normalised_latency, mean_ttft, p99_ttft, evictions_per_100, .. } = outcome.summary;
        let Summary { recomputed_tokens, kv_utilisation, steps, throughput, rho, kv_pressure, .. } = outcome.summary;
        SweepRow {
            policy: &sweep.policies[outcome.policy].name,
            load: sweep.loads[outcome.load].to_string(),
            seed: outcome.seed,
            mean_latency,
            p50_latency,
            p95_latency,
            p99_latency,
            mean_normalised_latency,
            mean_ttft,
            p99_ttft,
            evictions_per_100,
            recomputed_tokens,
            kv_utilisation,
            steps,
            throughput,
            rho,
            kv_pressure,
        }
    };
    serde_json::to_string(&SweepReport { policies: outcomes.iter().map(entry).collect() })
}

/// Means over the seeds with their 95 % confidence intervals, one table for each load.
pub(crate) fn text(sweep: &Sweep, outcomes: &[SweepRun]) -> String {
    let wide = sweep.policies.iter().map(|policy| policy.name.len()).max().unwrap_or(0).max(6);
    let mut text = String::new();
    for (load, name) in sweep.loads.iter().enumerate() {
        let at_load: Vec<&SweepRun> = outcomes.iter().filter(|outcome| outcome.load == load).collect();
        let mean = |of: fn(&Summary) -> f64| interval(&at_load, of).mean;
        text += &format!(
            "load {name}: rho {:.2}, KV pressure {:.2}; {} requests, {} seeds, forecasts {}; mean \u{b1} 95 %\n",
            mean(|summary| summary.rho),
            mean(|summary| summary.kv_pressure),
            sweep.requests.min(sweep.trace.len()),
            sweep.seeds,
            sweep.predictor,
        );
        text += &format!("{:wide$}", "policy");
        COLUMNS.iter().for_each(|(heading, ..)| text += &format!(" {heading:>16}"));
        text.push('\n');
        for (policy, named) in sweep.policies.iter().enumerate() {
            let runs: Vec<&SweepRun> = at_load.iter().copied().filter(|outcome| outcome.policy == policy).collect();
            text += &format!("{:wide$}", named.name);
            for (_, decimals, of) in COLUMNS {
                let Interval { mean, half_width } = interval(&runs, of);
                let figure = match half_width.is_finite() {
                    true => format!("{mean:.decimals$} \u{b1}{half_width:.decimals$}"),
                    false => format!("{mean:.decimals$}"),
                };
                text += &format!(" {figure:>16}");
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn interval(outcomes: &[&SweepRun], of: fn(&Summary) -> f64) -> Interval {
    Interval::of(&outcomes.iter().map(|outcome| of(&outcome.summary)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::sweep;
    use super::*;

    #[test]
    fn json_holds_every_run_with_the_keys_that_others_read() {
        let sweep = sweep();
        let outcomes = sweep.run(&|_| ()).unwrap();
        let report: serde_json::Value = serde_json::from_str(&json(&sweep, &outcomes).unwrap()).unwrap();
        let runs = report["policies"].as_array().unwrap();
        assert_eq!(runs.len(), 12);
        for key in [
            "mean_latency",
            "p50_latency",
            "p99_latency",
            "mean_normalised_latency",
            "mean_ttft",
            "p99_ttft",
            "evictions_per_100",
            "recomputed_tokens",
            "kv_utilisation",
            "steps",
            "throughput",
            "rho",
            "kv_pressure",
        ] {
            assert!(runs.iter().all(|run| run[key].is_number()), "{key}");
        }
        assert_eq!((&runs[3]["policy"], &runs[3]["seed"]), (&"srpt".into(), &0.into()));
    }

    #[test]
    fn the_table_has_a_row_for_each_policy_at_each_load() {
        let sweep = sweep();
        let text = text(&sweep, &sweep.run(&|_| ()).unwrap());
        assert_eq!(text.lines().filter(|line| line.starts_with("srpt")).count(), 2);
        assert!(text.contains("load 1.2: rho 1.") && text.contains('\u{b1}'), "{text}");
    }
}
