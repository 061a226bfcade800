//! The preset `past-future-ae`: a published simulation repeated, its figures beside ours.

use std::sync::{Mutex, PoisonError};

use eoscast_sim::Interval;
use eoscast_sim::past_future_ae::{LENGTHS, PUBLISHED, QueueFigures, RULES, run as run_rule};
use serde::Serialize;

/// One run, or what was published of one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PresetRow {
    lengths: &'static str,
    policy: &'static str,
    /// None: published.
    seed: Option<u32>,
    /// Percent.
    utilisation: f64,
    evictions_per_100: f64,
    steps: f64,
}

/// All runs, and what was published.
#[derive(Debug, Serialize)]
pub(crate) struct PresetReport {
    policies: Vec<PresetRow>,
}

/// How many runs [`run`] makes.
pub(crate) fn runs(seeds: u32) -> u64 {
    (LENGTHS.len() * RULES.len()) as u64 * u64::from(seeds)
}

/// Runs every rule over every kind of lengths with every seed; calls `progress` after each run.
pub(crate) fn run(seeds: u32, progress: &(dyn Fn() + Sync)) -> PresetReport {
    let mut tasks = Vec::new();
    for lengths in 0..LENGTHS.len() {
        for rule in 0..RULES.len() {
            tasks.extend((0..seeds).map(|seed| (lengths, rule, seed)));
        }
    }
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
                    progress();
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (lengths, published) in PUBLISHED.iter().enumerate() {
        runs.extend(published.iter().enumerate().map(|(rule, figures)| (lengths, rule, None, *figures)));
    }
    runs.sort_by_key(|(lengths, rule, seed, _)| (*lengths, *rule, *seed));
    let row = |(lengths, rule, seed, figures): &(usize, usize, Option<u32>, QueueFigures)| PresetRow {
        lengths: LENGTHS[*lengths].name,
        policy: RULES[*rule].name,
        seed: *seed,
        utilisation: figures.utilisation,
        evictions_per_100: figures.evictions_per_100,
        steps: figures.steps,
    };
    PresetReport { policies: runs.iter().map(row).collect() }
}

/// A figure, the width of its column, and its decimals.
type Column = (fn(&PresetRow) -> f64, usize, usize);

const COLUMNS: [Column; 3] =
    [(|row| row.utilisation, 26, 1), (|row| row.evictions_per_100, 26, 1), (|row| row.steps, 32, 0)];

impl PresetReport {
    /// Means over the seeds with their 95 % confidence intervals, and in brackets what was published.
    pub(crate) fn text(&self) -> String {
        table(&self.policies)
    }
}

fn table(rows: &[PresetRow]) -> String {
    let mut text = format!("{:8} {:13} {:>26} {:>26} {:>32}\n", "lengths", "policy", "KV %", "evicted/100", "steps");
    for runs in rows.chunk_by(|a, b| (a.lengths, a.policy) == (b.lengths, b.policy)) {
        let PresetRow { lengths, policy, .. } = runs[0];
        text += &format!("{lengths:8} {policy:13}");
        for (of, width, decimals) in COLUMNS {
            let (published, ours): (Vec<&PresetRow>, Vec<&PresetRow>) = runs.iter().partition(|run| run.seed.is_none());
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
        let row = |seed, utilisation| PresetRow {
            lengths: "D1",
            policy: "aggressive",
            seed,
            utilisation,
            evictions_per_100: 3.0,
            steps: 100.0,
        };
        let text = table(&[row(None, 98.4), row(Some(0), 97.0), row(Some(1), 99.0)]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("98.0 \u{b1}12.7 (98.4)") && text.contains("100 \u{b1}0 (100)"), "{text}");
    }
}
