//! The frontier as SVG: time a token against the tail of latency, a point for each policy.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::metrics::Mean;
use super::report::{ExperimentReport, PolicyRow};
use crate::chart::line_chart::{Line, LineChart};
use crate::chart::palette::colors;

/// Writes one figure for each load into `folder`; gives their paths.
///
/// # Errors
/// A file cannot be written, or the drawing library refuses.
pub(crate) fn draw(report: &ExperimentReport, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for lines in report.policies.chunk_by(|a, b| a.rho == b.rho) {
        let path = folder.join(format!("frontier-{}.svg", lines[0].rho));
        std::fs::write(&path, frontier(lines).svg()?).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// A mean with the ends of its interval; of one round there is no interval.
fn span(Mean { mean, half_width }: Mean, unit: f64) -> [f64; 3] {
    let half_width = if half_width.is_finite() { half_width } else { 0.0 };
    [(mean - half_width).max(0.0), mean, mean + half_width].map(|value| value * unit)
}

fn frontier(rows: &[PolicyRow]) -> LineChart {
    let of = |row: &PolicyRow| {
        let x = span(row.figures.mean_normalised_latency, 1e3);
        (x, span(row.figures.p99_latency, 1.0))
    };
    let line = |(row, color): (&PolicyRow, _)| {
        let (x, y) = of(row);
        let bars = vec![[(x[0], y[1]), (x[2], y[1])], [(x[1], y[0]), (x[1], y[2])]];
        Line { name: row.policy.clone(), color, points: vec![(x[1], y[1])], bars }
    };
    let colors = colors(rows.iter().map(|row| row.policy.as_str()));
    LineChart {
        title: format!("On the worker, load {}; bars are 95 % confidence intervals over rounds", rows[0].rho),
        x: "mean normalised latency, ms a token",
        y: "P99 latency, s",
        logarithmic_x: false,
        y_high: None,
        lines: rows.iter().zip(colors).map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn each_load_has_a_figure_with_a_point_for_each_policy() {
        let folder = tempfile::tempdir().unwrap();
        let paths = draw(&report(3), folder.path()).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["frontier-0.5.svg", "frontier-0.9.svg"]);
        for path in paths {
            let svg = std::fs::read_to_string(path).unwrap();
            assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
            assert!(svg.contains("fcfs+past-future") && svg.contains("boost+risk+least-cost"));
        }
    }
}
