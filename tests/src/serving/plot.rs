//! The frontier as SVG: time a token against the tail of latency, a point for each policy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use plotters::prelude::*;

use super::report::{Line, Mean, Report};

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
const PALETTE: [RGBColor; 10] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x8c, 0x6d, 0x31),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0xbc, 0xbd, 0x22),
];
/// Of the figure, without the legend.
const SIZE: (u32, u32) = (1200, 640);
const LEGEND_ROW: u32 = 32;
const TEXT: f64 = 22.0;

/// Writes one figure for each load into `folder`; gives their paths.
///
/// # Errors
/// A file cannot be written, or the drawing library refuses.
pub fn draw(report: &Report, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for lines in report.policies.chunk_by(|a, b| a.rho == b.rho) {
        let path = folder.join(format!("frontier-{}.svg", lines[0].rho));
        std::fs::write(&path, svg(lines)?).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Time a token and tail of latency, each as low end, mean and high end of its interval.
type Point = ([f64; 3], [f64; 3]);

/// A mean with the ends of its interval; of one round there is no interval.
fn span(Mean { mean, half_width }: Mean, unit: f64) -> [f64; 3] {
    let half_width = if half_width.is_finite() { half_width } else { 0.0 };
    [(mean - half_width).max(0.0), mean, mean + half_width].map(|value| value * unit)
}

fn svg(lines: &[Line]) -> anyhow::Result<String> {
    let of = |line: &Line| (span(line.figures.mean_normalised_latency, 1e3), span(line.figures.p99_latency, 1.0));
    let points: Vec<Point> = lines.iter().map(of).collect();
    let high = |values: &dyn Fn(&Point) -> f64| 1.05 * points.iter().map(values).fold(1e-9, f64::max);
    let above = 12 + LEGEND_ROW * lines.len().div_ceil(2) as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 + above)).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, body) = root.split_vertically(above);
        for (i, line) in lines.iter().enumerate() {
            let (x, y) = (40 + (i as i32 % 2) * SIZE.0 as i32 / 2, 24 + (i as i32 / 2) * LEGEND_ROW as i32);
            top.draw(&Circle::new((x + 13, y), 9, color(i).filled()))?;
            top.draw(&Text::new(line.policy.clone(), (x + 36, y - 10), style(TEXT)))?;
        }
        let mut builder = ChartBuilder::on(&body);
        let title = format!("On the worker, load {}; bars are 95 % confidence intervals over rounds", lines[0].rho);
        builder.caption(title, style(TEXT)).margin(12).margin_right(36);
        builder.x_label_area_size(64).y_label_area_size(96);
        let mut chart = builder.build_cartesian_2d(0.0..high(&|(x, _)| x[2]), 0.0..high(&|(_, y)| y[2]))?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(GRID.stroke_width(2));
        mesh.label_style(style(TEXT - 3.0)).axis_desc_style(style(TEXT));
        mesh.x_desc("mean normalised latency, ms a token").y_desc("P99 latency, s").draw()?;
        for (i, (x, y)) in points.iter().enumerate() {
            let bars = [[(x[0], y[1]), (x[2], y[1])], [(x[1], y[0]), (x[1], y[2])]];
            chart.draw_series(bars.map(|ends| PathElement::new(ends, color(i).mix(0.5).stroke_width(2))))?;
            chart.draw_series([Circle::new((x[1], y[1]), 7, color(i).filled())])?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn color(policy: usize) -> RGBColor {
    PALETTE[policy % PALETTE.len()]
}

fn style(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
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
            // One in the legend, one in the chart.
            assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
            assert!(svg.contains("fcfs+past-future") && svg.contains("boost+risk+least-cost"));
        }
    }
}
