//! `simulate --preset past-future-ae`: a published simulation repeated, its figures beside ours.

use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;

use eoscast_sim::Interval;
use eoscast_sim::past_future_ae::{LENGTHS, PUBLISHED, QueueFigures, RULES, run as run_rule};
use serde::Serialize;

use super::simulate::progress_bar;

/// One run, or what was published of one.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    lengths: &'static str,
    policy: &'static str,
    /// None: published.
    seed: Option<u32>,
    /// Percent.
    utilisation: f64,
    evictions_per_100: f64,
    steps: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    policies: Vec<Entry>,
}

/// Runs every rule over every kind of lengths with every seed.
pub(super) fn run(seeds: u32, json: bool) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for lengths in 0..LENGTHS.len() {
        for rule in 0..RULES.len() {
            tasks.extend((0..seeds).map(|seed| (lengths, rule, seed)));
        }
    }
    let bar = progress_bar("repeating", tasks.len() as u64);
    let runs = Mutex::new(Vec::new());
    let tasks = Mutex::new(tasks);
    std::thread::scope(|scope| {
        for _ in 0..num_cpus::get() {
            scope.spawn(|| {
                // Not in a `while let`, which would hold the lock for its body.
                loop {
                    let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((lengths, rule, seed)) = task else { break };
                    let figures = run_rule(&RULES[rule], &LENGTHS[lengths], seed.into());
                    runs.lock().unwrap_or_else(PoisonError::into_inner).push((lengths, rule, Some(seed), figures));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (lengths, published) in PUBLISHED.iter().enumerate() {
        runs.extend(published.iter().enumerate().map(|(rule, figures)| (lengths, rule, None, *figures)));
    }
    runs.sort_by_key(|(lengths, rule, seed, _)| (*lengths, *rule, *seed));
    let entry = |(lengths, rule, seed, figures): &(usize, usize, Option<u32>, QueueFigures)| Entry {
        lengths: LENGTHS[*lengths].name,
        policy: RULES[*rule].name,
        seed: *seed,
        utilisation: figures.utilisation,
        evictions_per_100: figures.evictions_per_100,
        steps: figures.steps,
    };
    let report = Report { policies: runs.iter().map(entry).collect() };
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{}", table(&report.policies))?,
    }
    Ok(())
}

/// A figure, the width of its column, and its decimals.
type Column = (fn(&Entry) -> f64, usize, usize);

const COLUMNS: [Column; 3] =
    [(|entry| entry.utilisation, 26, 1), (|entry| entry.evictions_per_100, 26, 1), (|entry| entry.steps, 32, 0)];

/// Means over the seeds with their 95 % confidence intervals, and in brackets what was published.
fn table(entries: &[Entry]) -> String {
    let mut text = format!("{:8} {:13} {:>26} {:>26} {:>32}\n", "lengths", "policy", "KV %", "evicted/100", "steps");
    for runs in entries.chunk_by(|a, b| (a.lengths, a.policy) == (b.lengths, b.policy)) {
        let Entry { lengths, policy, .. } = runs[0];
        text += &format!("{lengths:8} {policy:13}");
        for (of, width, decimals) in COLUMNS {
            let (published, ours): (Vec<&Entry>, Vec<&Entry>) = runs.iter().partition(|run| run.seed.is_none());
            let Interval { mean, half_width } = Interval::of(&ours.into_iter().map(of).collect::<Vec<_>>());
            let spread = if half_width.is_finite() { format!(" \u{b1}{half_width:.decimals$}") } else { String::new() };
            let published = published.first().map_or(f64::NAN, |run| of(run));
            let cell = format!("{mean:.decimals$}{spread} ({published:.decimals$})");
            text += &format!(" {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_mean_of_the_seeds_and_what_was_published() {
        let entry = |seed, utilisation| Entry {
            lengths: "D1",
            policy: "aggressive",
            seed,
            utilisation,
            evictions_per_100: 3.0,
            steps: 100.0,
        };
        let text = table(&[entry(None, 98.4), entry(Some(0), 97.0), entry(Some(1), 99.0)]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("98.0 \u{b1}12.7 (98.4)") && text.contains("100 \u{b1}0 (100)"), "{text}");
    }
}
