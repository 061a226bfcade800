//! The report as text.

use super::metrics::Mean;
use super::report::{BASELINES, ExperimentReport, PolicyRow, Ratio};

/// Heading, decimals, and the figure.
type Column = (&'static str, usize, fn(&PolicyRow) -> Mean);

const COLUMNS: [Column; 9] = [
    ("latency s", 2, |line| line.figures.mean_latency),
    ("P50 s", 2, |line| line.figures.p50_latency),
    ("P95 s", 2, |line| line.figures.p95_latency),
    ("P99 s", 2, |line| line.figures.p99_latency),
    ("ms/token", 1, |line| milli(line.figures.mean_normalised_latency)),
    ("TTFT s", 2, |line| line.figures.mean_ttft),
    ("P99 TTFT s", 2, |line| line.figures.p99_ttft),
    ("evicted/100", 1, |line| line.figures.evictions_per_100),
    ("tokens/s", 0, |line| line.figures.throughput),
];

/// Means over the rounds with their 95 % confidence intervals, one table for each load; then ratios by round, and the simulator.
pub(crate) fn text(report: &ExperimentReport) -> String {
    let wide = report.policies.iter().map(|line| line.policy.len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{} requests, mean prompt {:.0} and reply {:.0} tokens, KV budget {} tokens; mean \u{b1} 95 % over rounds\n",
        report.requests, report.mean_prompt_tokens, report.mean_output_tokens, report.kv_tokens
    );
    for of_load in report.policies.chunk_by(|a, b| a.rho == b.rho) {
        text += &format!("\n{:wide$}", format!("load {}", of_load[0].rho));
        COLUMNS.iter().for_each(|(heading, ..)| text += &format!(" {heading:>16}"));
        for line in of_load {
            text += &format!("\n{:wide$}", line.policy);
            COLUMNS.iter().for_each(|(_, decimals, of)| text += &format!(" {:>16}", figure(of(line), *decimals)));
        }
        text += &format!("\n\n{:wide$}", "over");
        for baseline in BASELINES.iter().filter(|name| of_load[0].ratios.iter().any(|ratio| ratio.to == **name)) {
            text += &format!(" {:>50}", format!("{baseline}: latency, P99, ms/token"));
        }
        text += &format!(" {:>28}", "simulator: latency s");
        for line in of_load {
            text += &format!("\n{:wide$}", line.policy);
            for Ratio { mean_latency, p99_latency, mean_normalised_latency, .. } in &line.ratios {
                let of = [mean_latency, p99_latency, mean_normalised_latency];
                text += &format!(" {:>50}", of.map(|ratio| figure(*ratio, 2)).join("  "));
            }
            let simulated =
                format!("{} {:+.1} %", figure(line.simulated_mean_latency, 2), 100.0 * line.simulated_difference);
            text += &format!(" {simulated:>28}");
        }
        text.push('\n');
    }
    let different: usize = report.runs.iter().map(|run| run.different_lengths).sum();
    let latest = report.runs.iter().map(|run| run.latest_send).fold(0.0, f64::max);
    let dropped: u64 = report.runs.iter().map(|run| run.dropped_steps).sum();
    let slowness = || report.runs.iter().map(|run| run.slowness);
    let [fastest, slowest] = [slowness().fold(f64::MAX, f64::min), slowness().fold(0.0, f64::max)];
    text + &format!(
        "\n{different} of {} replies had another length than in the first pass; the latest request was sent {:.1} ms too late; {dropped} \
         steps never reached a predictor; steps took {fastest:.2} to {slowest:.2} times as long as in the first pass\n",
        report.requests * report.runs.len(),
        1e3 * latest
    )
}

fn milli(Mean { mean, half_width }: Mean) -> Mean {
    Mean { mean: 1e3 * mean, half_width: 1e3 * half_width }
}

fn figure(Mean { mean, half_width }: Mean, decimals: usize) -> String {
    match half_width.is_finite() {
        true => format!("{mean:.decimals$} \u{b1}{half_width:.decimals$}"),
        false => format!("{mean:.decimals$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn every_load_has_its_policies_with_ratios_and_the_simulator_beside() {
        let text = text(&report(3));
        assert_eq!(text.matches("\nboost+risk+least-cost").count(), 4, "{text}");
        assert!(text.contains("load 0.5") && text.contains("load 0.9"), "{text}");
        assert!(text.contains("0.50 \u{b1}0.00  0.50 \u{b1}0.00  0.50 \u{b1}0.00"), "{text}");
        assert!(text.contains("+10.0 %") && text.contains("40.0 \u{b1}"), "{text}");
        assert!(text.contains("12 of 12 replies had another length") && text.contains("4.0 ms too late"), "{text}");
        assert!(text.contains("1.00 to 1.10 times as long"), "{text}");
    }
}
