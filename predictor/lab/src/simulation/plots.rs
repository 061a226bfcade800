//! The figures of a sweep.

use std::path::{Path, PathBuf};

use anyhow::Context;
use eoscast_sim::{Interval, Summary};

use super::sweep::{Load, Sweep, SweepRun};
use crate::chart::line_chart::{Line, LineChart};
use crate::chart::palette::{RGBColor, colors};

const LEAST_EVICTIONS: f64 = 0.1;

/// Writes the figures of a sweep into the folder `out`, which is made if it is not there; gives their paths.
///
/// # Errors
/// The folder or a file cannot be written, or the drawing library refuses.
pub(crate) fn draw(sweep: &Sweep, outcomes: &[SweepRun], out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(out).with_context(|| format!("--out: {} cannot be made", out.display()))?;
    let mut charts = Vec::new();
    for (load, name) in sweep.loads.iter().enumerate() {
        let suffix =
            if sweep.loads.len() > 1 { format!("-{}", name.to_string().replace('/', "-per-")) } else { String::new() };
        let at_load: Vec<&SweepRun> = outcomes.iter().filter(|outcome| outcome.load == load).collect();
        charts.push((format!("latency-cdf{suffix}.svg"), latency_cdf(sweep, &at_load, name)));
        charts.push((format!("kv-use{suffix}.svg"), kv_use(sweep, &at_load, name)));
        charts.push((format!("evictions{suffix}.svg"), evictions(sweep, &at_load, name)));
        charts.push((format!("tail{suffix}.svg"), tail(sweep, &at_load, name)));
    }
    if sweep.loads.len() > 1 {
        let mean = against_load(sweep, outcomes, "mean latency, s", |summary| summary.mean_latency);
        let p99 = against_load(sweep, outcomes, "P99 latency, s", |summary| summary.p99_latency);
        charts.push(("latency-load.svg".to_owned(), mean));
        charts.push(("p99-load.svg".to_owned(), p99));
    }
    let mut paths = Vec::new();
    for (name, chart) in charts {
        let path = out.join(name);
        std::fs::write(&path, chart.svg()?).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Share of the requests, over all seeds, that took at most so long.
fn latency_cdf(sweep: &Sweep, outcomes: &[&SweepRun], load: &Load) -> LineChart {
    let of = |policy: usize| {
        let runs = outcomes.iter().filter(|outcome| outcome.policy == policy);
        let mut latencies: Vec<f64> = runs.flat_map(|outcome| outcome.latencies.iter().copied()).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        // As many points as can be seen.
        let count = latencies.len();
        let ranks = (0..=400).map(|i| (i * count.saturating_sub(1)) / 400);
        ranks.filter_map(|rank| Some((*latencies.get(rank)?, (rank + 1) as f64 / count as f64))).collect()
    };
    LineChart {
        title: format!("Latency, load {load}"),
        x: "latency, s",
        y: "share of requests",
        logarithmic_x: true,
        y_high: Some(1.0),
        lines: lines(sweep, of),
    }
}

/// Of the first seed.
fn kv_use(sweep: &Sweep, outcomes: &[&SweepRun], load: &Load) -> LineChart {
    let of = |policy: usize| {
        let first = outcomes.iter().find(|outcome| outcome.policy == policy);
        let moments = first.map(|outcome| outcome.kv_use.as_slice()).unwrap_or_default();
        // Means over stretches: single steps would cover each other.
        let stretch = moments.len().div_ceil(150).max(1);
        let mean = |moments: &[(f64, f64)]| {
            (moments[0].0, moments.iter().map(|(_, share)| share).sum::<f64>() / moments.len() as f64)
        };
        moments.chunks(stretch).map(mean).collect()
    };
    LineChart {
        title: format!("KV use over time, load {load}, seed 0"),
        x: "time, s",
        y: "share of the KV budget",
        logarithmic_x: false,
        y_high: Some(1.0),
        lines: lines(sweep, of),
    }
}

/// What a rule pays for a full cache, as its parameter goes from careful to bold.
fn evictions(sweep: &Sweep, outcomes: &[&SweepRun], load: &Load) -> LineChart {
    let mut families: Vec<Line> = Vec::new();
    for (policy, (named, color)) in sweep.policies.iter().zip(policy_colors(sweep)).enumerate() {
        let name = family(&named.name);
        // None at all has no place on a logarithmic axis.
        let evicted = mean(outcomes, policy, |summary| summary.evictions_per_100).max(LEAST_EVICTIONS);
        let point = (evicted, mean(outcomes, policy, |summary| summary.kv_utilisation));
        match families.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            // A family has the colour of its first policy.
            None => families.push(Line { name, color, points: vec![point], bars: vec![] }),
        }
    }
    families.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    LineChart {
        title: format!("What a full cache costs, load {load}: left and up is better"),
        x: "evictions per 100 requests (0.1: at most)",
        y: "mean share of the KV budget in use",
        logarithmic_x: true,
        y_high: Some(1.0),
        lines: families,
    }
}

/// Time a token against the slowest requests.
fn tail(sweep: &Sweep, outcomes: &[&SweepRun], load: &Load) -> LineChart {
    let of = |policy| {
        let time = 1e3 * mean(outcomes, policy, |summary| summary.mean_normalised_latency);
        vec![(time, mean(outcomes, policy, |summary| summary.p99_latency))]
    };
    LineChart {
        title: format!("Mean and tail, load {load}: left and down is better"),
        x: "mean normalised latency, ms a token",
        y: "P99 latency, s",
        logarithmic_x: true,
        y_high: None,
        lines: lines(sweep, of),
    }
}

/// A policy's name without the numbers of its rules.
fn family(name: &str) -> String {
    let mut depth = 0;
    let keep = |c: &char| {
        depth += i32::from(*c == '(');
        let outside = depth == 0;
        depth -= i32::from(*c == ')');
        outside
    };
    name.chars().filter(keep).collect()
}

/// Over the seeds.
fn mean(outcomes: &[&SweepRun], policy: usize, of: fn(&Summary) -> f64) -> f64 {
    let runs = outcomes.iter().filter(|outcome| outcome.policy == policy);
    Interval::of(&runs.map(|run| of(&run.summary)).collect::<Vec<_>>()).mean
}

fn against_load(sweep: &Sweep, outcomes: &[SweepRun], y: &'static str, of: fn(&Summary) -> f64) -> LineChart {
    let points = |policy: usize| -> Vec<(f64, Interval)> {
        let at = |load: usize| {
            let runs = outcomes.iter().filter(move |outcome| (outcome.load, outcome.policy) == (load, policy));
            let values = |of: fn(&Summary) -> f64| runs.clone().map(|run| of(&run.summary)).collect::<Vec<_>>();
            (Interval::of(&values(|summary| summary.rho)).mean, Interval::of(&values(of)))
        };
        let mut points: Vec<_> = (0..sweep.loads.len()).map(at).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let bar = |(load, Interval { mean, half_width }): (f64, Interval)| {
        half_width.is_finite().then_some([(load, (mean - half_width).max(0.0)), (load, mean + half_width)])
    };
    LineChart {
        title: "Latency against load; bars are 95 % confidence intervals over the seeds".to_owned(),
        x: "load (rho)",
        y,
        logarithmic_x: false,
        y_high: None,
        lines: (0..sweep.policies.len())
            .zip(lines(sweep, |policy| points(policy).iter().map(|(load, at)| (*load, at.mean)).collect()))
            .map(|(policy, line)| Line { bars: points(policy).into_iter().filter_map(bar).collect(), ..line })
            .collect(),
    }
}

fn policy_colors(sweep: &Sweep) -> Vec<RGBColor> {
    colors(sweep.policies.iter().map(|policy| policy.name.as_str()))
}

fn lines(sweep: &Sweep, of: impl Fn(usize) -> Vec<(f64, f64)>) -> Vec<Line> {
    let named = sweep.policies.iter().zip(policy_colors(sweep)).enumerate();
    named.map(|(i, (policy, color))| Line { name: policy.name.clone(), color, points: of(i), bars: vec![] }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::sweep;
    use super::*;

    #[test]
    fn policies_that_differ_in_numbers_alone_are_one_family() {
        assert_eq!(family("boost(2)+peak(0.85)+least-cost"), "boost+peak+least-cost");
    }

    #[test]
    fn each_load_has_its_figures_and_several_have_one_together() {
        let sweep = sweep();
        let outcomes = sweep.run(&|_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let paths = draw(&sweep, &outcomes, folder.path()).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let expected = [
            "latency-cdf-0.5.svg",
            "kv-use-0.5.svg",
            "evictions-0.5.svg",
            "tail-0.5.svg",
            "latency-cdf-1.2.svg",
            "kv-use-1.2.svg",
            "evictions-1.2.svg",
            "tail-1.2.svg",
            "latency-load.svg",
            "p99-load.svg",
        ];
        assert_eq!(names, expected);
        for path in paths {
            let svg = std::fs::read_to_string(path).unwrap();
            assert!(
                svg.contains("srpt") && svg.matches("<polyline").count() + svg.matches("<circle").count() >= 2,
                "{svg}"
            );
        }
    }
}
