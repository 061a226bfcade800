//! The figures of an experiment.

use std::path::{Path, PathBuf};

use anyhow::Context;
use eoscast_sim::{Interval, Summary};

use super::chart::{Chart, Line};
use super::experiment::{Experiment, Load, Outcome};

const LEAST_EVICTIONS: f64 = 0.1;

/// Writes the figures of an experiment into the folder `out`, which is made if it is not there; gives their paths.
///
/// # Errors
/// The folder or a file cannot be written, or the drawing library refuses.
pub fn draw(experiment: &Experiment, outcomes: &[Outcome], out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(out).with_context(|| format!("--out: {} cannot be made", out.display()))?;
    let mut charts = Vec::new();
    for (load, name) in experiment.loads.iter().enumerate() {
        let suffix = if experiment.loads.len() > 1 {
            format!("-{}", name.to_string().replace('/', "-per-"))
        } else {
            String::new()
        };
        let at_load: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.load == load).collect();
        charts.push((format!("latency-cdf{suffix}.svg"), latency_cdf(experiment, &at_load, name)));
        charts.push((format!("kv-use{suffix}.svg"), kv_use(experiment, &at_load, name)));
        charts.push((format!("evictions{suffix}.svg"), evictions(experiment, &at_load, name)));
        charts.push((format!("tail{suffix}.svg"), tail(experiment, &at_load, name)));
    }
    if experiment.loads.len() > 1 {
        let mean = against_load(experiment, outcomes, "mean latency, s", |summary| summary.mean_latency);
        let p99 = against_load(experiment, outcomes, "P99 latency, s", |summary| summary.p99_latency);
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
fn latency_cdf(experiment: &Experiment, outcomes: &[&Outcome], load: &Load) -> Chart {
    let of = |policy: usize| {
        let runs = outcomes.iter().filter(|outcome| outcome.policy == policy);
        let mut latencies: Vec<f64> = runs.flat_map(|outcome| outcome.latencies.iter().copied()).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        // As many points as can be seen.
        let count = latencies.len();
        let ranks = (0..=400).map(|i| (i * count.saturating_sub(1)) / 400);
        ranks.filter_map(|rank| Some((*latencies.get(rank)?, (rank + 1) as f64 / count as f64))).collect()
    };
    Chart {
        title: format!("Latency, load {load}"),
        x: "latency, s",
        y: "share of requests",
        logarithmic_x: true,
        y_high: Some(1.0),
        lines: lines(experiment, of),
        bars: Vec::new(),
    }
}

/// Of the first seed.
fn kv_use(experiment: &Experiment, outcomes: &[&Outcome], load: &Load) -> Chart {
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
    Chart {
        title: format!("KV use over time, load {load}, seed 0"),
        x: "time, s",
        y: "share of the KV budget",
        logarithmic_x: false,
        y_high: Some(1.0),
        lines: lines(experiment, of),
        bars: Vec::new(),
    }
}

/// What a rule pays for a full cache, as its parameter goes from careful to bold.
fn evictions(experiment: &Experiment, outcomes: &[&Outcome], load: &Load) -> Chart {
    let mut families: Vec<(String, Line)> = Vec::new();
    for (policy, named) in experiment.policies.iter().enumerate() {
        let family = family(&named.name);
        // None at all has no place on a logarithmic axis.
        let evicted = mean(outcomes, policy, |summary| summary.evictions_per_100).max(LEAST_EVICTIONS);
        let point = (evicted, mean(outcomes, policy, |summary| summary.kv_utilisation));
        match families.iter_mut().find(|(name, _)| *name == family) {
            Some((_, line)) => line.push(point),
            None => families.push((family, vec![point])),
        }
    }
    families.iter_mut().for_each(|(_, line)| line.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Chart {
        title: format!("What a full cache costs, load {load}: left and up is better"),
        x: "evictions per 100 requests (0.1: at most)",
        y: "mean share of the KV budget in use",
        logarithmic_x: true,
        y_high: Some(1.0),
        lines: families,
        bars: Vec::new(),
    }
}

/// Time a token against the slowest requests.
fn tail(experiment: &Experiment, outcomes: &[&Outcome], load: &Load) -> Chart {
    let of = |policy| {
        let time = 1e3 * mean(outcomes, policy, |summary| summary.mean_normalised_latency);
        vec![(time, mean(outcomes, policy, |summary| summary.p99_latency))]
    };
    Chart {
        title: format!("Mean and tail, load {load}: left and down is better"),
        x: "mean normalised latency, ms a token",
        y: "P99 latency, s",
        logarithmic_x: true,
        y_high: None,
        lines: lines(experiment, of),
        bars: Vec::new(),
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
fn mean(outcomes: &[&Outcome], policy: usize, of: fn(&Summary) -> f64) -> f64 {
    let runs = outcomes.iter().filter(|outcome| outcome.policy == policy);
    Interval::of(&runs.map(|run| of(&run.summary)).collect::<Vec<_>>()).mean
}

fn against_load(experiment: &Experiment, outcomes: &[Outcome], y: &'static str, of: fn(&Summary) -> f64) -> Chart {
    let points = |policy: usize| -> Vec<(f64, Interval)> {
        let at = |load: usize| {
            let runs = outcomes.iter().filter(move |outcome| (outcome.load, outcome.policy) == (load, policy));
            let values = |of: fn(&Summary) -> f64| runs.clone().map(|run| of(&run.summary)).collect::<Vec<_>>();
            (Interval::of(&values(|summary| summary.rho)).mean, Interval::of(&values(of)))
        };
        let mut points: Vec<_> = (0..experiment.loads.len()).map(at).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let bar = |(load, Interval { mean, half_width }): (f64, Interval)| {
        half_width.is_finite().then_some([(load, (mean - half_width).max(0.0)), (load, mean + half_width)])
    };
    Chart {
        title: "Latency against load; bars are 95 % confidence intervals over the seeds".to_owned(),
        x: "load (rho)",
        y,
        logarithmic_x: false,
        y_high: None,
        lines: lines(experiment, |policy| points(policy).iter().map(|(load, at)| (*load, at.mean)).collect()),
        bars: (0..experiment.policies.len())
            .map(|policy| points(policy).into_iter().filter_map(bar).collect())
            .collect(),
    }
}

fn lines(experiment: &Experiment, of: impl Fn(usize) -> Line) -> Vec<(String, Line)> {
    experiment.policies.iter().enumerate().map(|(i, policy)| (policy.name.clone(), of(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::experiment;
    use super::*;

    #[test]
    fn policies_that_differ_in_numbers_alone_are_one_family() {
        assert_eq!(family("boost(2)+peak(0.85)+least-cost"), "boost+peak+least-cost");
    }

    #[test]
    fn each_load_has_its_figures_and_several_have_one_together() {
        let experiment = experiment();
        let outcomes = experiment.run(&|_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let paths = draw(&experiment, &outcomes, folder.path()).unwrap();
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
