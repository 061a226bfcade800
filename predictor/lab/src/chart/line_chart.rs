//! [`LineChart`]: one panel with a line or a point for each of several names, as a file of its own.

use super::axis::Axis;
use super::figure::{draw, on_white};
use super::palette::RGBColor;
use super::panel::{MOST_IN_LEGEND, Panel, Shape};

const HEIGHT: u32 = 860;
/// Lines of so few points show them.
const POINTS: usize = 20;

/// What is drawn of one name.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) color: RGBColor,
    /// Joined, if there are several.
    pub(crate) points: Vec<(f64, f64)>,
    /// Strokes between two points that show how sure it is; or none.
    pub(crate) bars: Vec<[(f64, f64); 2]>,
}

/// One picture.
#[derive(Debug, Clone)]
pub(crate) struct LineChart {
    /// Above it.
    pub(crate) title: String,
    /// What goes to the right.
    pub(crate) x: &'static str,
    /// What goes up.
    pub(crate) y: &'static str,
    /// Else from 0.
    pub(crate) logarithmic_x: bool,
    /// From 0 to this, or as far as lines and bars go.
    pub(crate) y_high: Option<f64>,
    /// Back to front.
    pub(crate) lines: Vec<Line>,
}

impl LineChart {
    /// Draws it.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().chain(line.bars.iter().flatten()));
        let x_high = all().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
        let y_high = self.y_high.unwrap_or_else(|| 1.05 * all().map(|(_, y)| *y).fold(1e-9, f64::max));
        let x = if self.logarithmic_x {
            let low = all().map(|(x, _)| *x).filter(|x| *x > 0.0).fold(x_high, f64::min);
            Axis::logarithmic(self.x, low / 1.1, 1.1 * x_high)
        } else {
            Axis::linear(self.x, 0.0, 1.03 * x_high)
        };
        let shapes = self.lines.iter().flat_map(|Line { color, points, .. }| {
            let marked = if points.len() <= POINTS { points.clone() } else { vec![] };
            [Shape::Line(points.clone(), *color), Shape::Marks(marked, *color)]
        });
        let mut shapes: Vec<Shape> = shapes.collect();
        shapes.extend(self.lines.iter().map(|line| Shape::Strokes(line.bars.clone(), line.color)));
        let mut legend = vec![];
        if self.lines.len() > MOST_IN_LEGEND {
            shapes.extend(self.lines.iter().filter_map(|line| Shape::name(&line.name, &line.points, line.color)));
        } else {
            legend.extend(self.lines.iter().map(|line| (line.name.clone(), line.color)));
        }
        let panel = Panel { title: self.title.clone(), x, y: Axis::linear(self.y, 0.0, y_high), shapes };
        Ok(on_white(&draw(&legend, &[panel], 1, HEIGHT)?))
    }
}
