//! [`Figure`]: a picture as plain data, and its drawing as SVG.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text; the page swaps this colour and the next in the dark.
pub const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
/// Lines of the grid.
pub const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
/// Colours that can be told apart on light and dark ground, also by most colour-blind readers (Okabe and Ito, Color Universal
/// Design, 2008; then darker and lighter relatives).
pub const PALETTE: [RGBColor; 10] = [
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

/// Width of every figure. Coordinates are whole numbers, so figures are drawn large and shown at half the size.
const WIDTH: u32 = 1600;
const TEXT: f64 = 27.0;
const SMALL: f64 = 23.0;

/// A picture with everything a page needs to show and explain it.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Name of its files, without extension.
    pub name: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What is to be seen, in plain words.
    pub explanation: String,
    /// Names of colours.
    pub legend: Vec<(String, RGBColor)>,
    /// One, or several side by side.
    pub panels: Vec<Panel>,
}

/// A pair of axes and what is drawn between them.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Heading, if there are several panels.
    pub title: String,
    /// Left to right.
    pub x: Axis,
    /// Bottom to top.
    pub y: Axis,
    /// Back to front.
    pub shapes: Vec<Shape>,
}

/// What is drawn, in the units of the axes.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Through these points.
    Line(Vec<(f64, f64)>, RGBColor),
    /// The same, thin and pale: something to compare with.
    Guide(Vec<(f64, f64)>),
    /// Between two values of y at each x.
    Band(Vec<(f64, f64, f64)>, RGBColor, f64),
    /// Dots.
    Dots(Vec<(f64, f64)>, RGBColor),
    /// Larger dots.
    Marks(Vec<(f64, f64)>, RGBColor),
    /// Boxes between two corners.
    Bars(Vec<[(f64, f64); 2]>, RGBColor, f64),
}

/// One axis.
#[derive(Debug, Clone)]
pub struct Axis {
    label: String,
    logarithmic: bool,
    /// In drawing units: logarithms to base 10 where the axis is logarithmic.
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `low` to `high`, with ticks at round numbers.
    pub fn linear(label: impl Into<String>, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let rough = (high - low) / 6.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|step| *step >= rough).unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        let last = ((high / step) + 1e-9).floor() as i64;
        let digits = (-magnitude.log10()).max(0.0) as usize;
        let ticks = (first..=last).map(|i| (i as f64 * step, format!("{:.digits$}", i as f64 * step))).collect();
        Self { label: label.into(), logarithmic: false, low, high, ticks }
    }

    /// From `low` to `high`, both above 0, with ticks at powers of ten.
    pub fn logarithmic(label: impl Into<String>, low: f64, high: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE).log10();
        let high = high.max(f64::MIN_POSITIVE).log10().max(low + 0.5);
        let (first, last) = (low.ceil() as i32, (high + 1e-9).floor() as i32);
        let stride = usize::try_from((last - first) / 10 + 1).unwrap_or(1);
        let mut ticks: Vec<_> =
            (first..=last).rev().step_by(stride).map(|power| (f64::from(power), power_of_ten(power))).collect();
        ticks.reverse();
        if ticks.len() < 3 {
            let between = (first - 1..=last).flat_map(|power| [2.0, 5.0].map(|m| m * 10f64.powi(power)));
            ticks.extend(between.filter(|v| (low..=high).contains(&v.log10())).map(|v| (v.log10(), v.to_string())));
            ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Self { label: label.into(), logarithmic: true, low, high, ticks }
    }

    /// One row or column for each name, at 0, 1, 2 ...
    pub fn names(label: impl Into<String>, names: impl IntoIterator<Item = String>) -> Self {
        let ticks: Vec<_> = names.into_iter().enumerate().map(|(i, name)| (i as f64, name)).collect();
        Self { label: label.into(), logarithmic: false, low: -0.6, high: ticks.len() as f64 - 0.4, ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        value.clamp(self.low, self.high)
    }

    fn widest_tick(&self) -> f64 {
        self.ticks.iter().map(|(_, text)| width(text, SMALL)).fold(0.0, f64::max)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (place - self.low) / (self.high - self.low);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(at: &f64) -> String {
        at.to_string()
    }

    fn format_ext(&self, at: &f64) -> String {
        self.ticks.iter().find(|tick| tick.0 == *at).map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

fn power_of_ten(power: i32) -> String {
    if (-3..=4).contains(&power) {
        return 10f64.powi(power).to_string();
    }
    let superscript = |c: char| c.to_digit(10).and_then(|d| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(d as usize)).unwrap_or('⁻');
    format!("10{}", power.to_string().chars().map(superscript).collect::<String>())
}

/// About how wide a text is in pixels; no font is at hand when a figure is laid out.
fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.5
}

/// A text style as plotters counts sizes.
fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

impl Figure {
    /// Draws the figure.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self) -> anyhow::Result<String> {
        let columns = if self.panels.len() > 1 { 2 } else { 1 };
        let rows = self.panels.len().div_ceil(columns).max(1);
        let tallest = self.panels.iter().map(|panel| panel.height(columns)).max().unwrap_or(0);
        let legend = self.legend_rows();
        let above = if legend.is_empty() { 10 } else { 40 * legend.len() as u32 + 16 };
        let height = above + tallest * rows as u32;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            let (top, body) = root.split_vertically(above);
            for (row, entries) in legend.iter().enumerate() {
                draw_legend(&top, row, entries)?;
            }
            for (panel, area) in self.panels.iter().zip(body.split_evenly((rows, columns))) {
                panel.draw(&area)?;
            }
            root.present()?;
        }
        Ok(svg)
    }

    /// The legend, broken into rows that fit.
    fn legend_rows(&self) -> Vec<Vec<(i32, &str, RGBColor)>> {
        let mut rows: Vec<Vec<_>> = vec![];
        let mut x = f64::INFINITY;
        for (name, color) in &self.legend {
            let wide = width(name, TEXT) + 70.0;
            if x + wide > f64::from(WIDTH) - 20.0 {
                rows.push(vec![]);
                x = 30.0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((x as i32, name.as_str(), *color));
            }
            x += wide;
        }
        rows
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_legend(area: &Area<'_>, row: usize, entries: &[(i32, &str, RGBColor)]) -> anyhow::Result<()> {
    let y = 28 + 40 * row as i32;
    let style = text(TEXT).pos(Pos::new(HPos::Left, VPos::Center));
    for (x, name, color) in entries {
        area.draw(&Rectangle::new([(*x, y - 10), (x + 28, y + 10)], color.filled()))?;
        area.draw(&Text::new(name.to_string(), (x + 38, y), style.clone()))?;
    }
    Ok(())
}

impl Panel {
    fn height(&self, columns: usize) -> u32 {
        let names = self.y.ticks.len() as u32;
        match columns {
            // Rows of names need room, however many there are.
            1 => 640.max(140 + 44 * names),
            _ => 580.max(140 + 44 * names),
        }
    }

    fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        let mut builder = ChartBuilder::on(area);
        if !self.title.is_empty() {
            builder.caption(&self.title, text(TEXT));
        }
        let mut chart = builder
            .margin(12)
            .margin_right(44)
            .x_label_area_size(84)
            .y_label_area_size(self.y.widest_tick() + 76.0)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID.stroke_width(2))
            .label_style(text(SMALL))
            .axis_desc_style(text(TEXT))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .draw()?;
        let at = |(x, y): (f64, f64)| (self.x.place(x), self.y.place(y));
        for shape in &self.shapes {
            match shape {
                Shape::Line(points, color) => {
                    chart.draw_series(LineSeries::new(points.iter().map(|p| at(*p)), color.stroke_width(4)))?;
                }
                Shape::Guide(points) => {
                    let style = INK.mix(0.45).stroke_width(2);
                    chart.draw_series(LineSeries::new(points.iter().map(|p| at(*p)), style))?;
                }
                Shape::Band(points, color, opacity) => {
                    let below = points.iter().map(|(x, low, _)| at((*x, *low)));
                    let above = points.iter().rev().map(|(x, _, high)| at((*x, *high)));
                    let outline: Vec<_> = below.chain(above).collect();
                    chart.draw_series([Polygon::new(outline, color.mix(*opacity))])?;
                }
                Shape::Dots(points, color) => {
                    chart.draw_series(points.iter().map(|p| Circle::new(at(*p), 5, color.mix(0.55).filled())))?;
                }
                Shape::Marks(points, color) => {
                    chart.draw_series(points.iter().map(|p| Circle::new(at(*p), 9, color.filled())))?;
                }
                Shape::Bars(boxes, color, opacity) => {
                    let style = color.mix(*opacity).filled();
                    chart.draw_series(boxes.iter().map(|[a, b]| Rectangle::new([at(*a), at(*b)], style)))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_stand_at_round_numbers() {
        assert_eq!(ticks(&Axis::linear("", 0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks(&Axis::linear("", 0.0, 768.0)), ["0", "200", "400", "600"]);
        assert_eq!(ticks(&Axis::logarithmic("", 1e-5, 1.0)), ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(ticks(&Axis::logarithmic("", 3.0, 60.0)), ["5", "10", "20", "50"]);
    }

    #[test]
    fn text_from_a_log_cannot_break_out_of_the_picture() {
        let panel = Panel {
            title: "<script>".into(),
            x: Axis::names("", ["a\"<b>".to_owned()]),
            y: Axis::linear("&", 0.0, f64::NAN),
            shapes: vec![Shape::Line(vec![(f64::NAN, 0.5), (1e300, -1e300)], INK)],
        };
        let figure = Figure {
            name: "x",
            title: "",
            explanation: String::new(),
            legend: vec![("<i>".into(), INK)],
            panels: vec![panel],
        };
        let svg = figure.svg().unwrap();
        assert!(!svg.contains("<script>") && !svg.contains("<i>") && svg.contains("&lt;script&gt;"), "{svg}");
    }
}
