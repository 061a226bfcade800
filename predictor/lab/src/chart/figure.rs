//! [`Figure`]: a picture as plain data, and its drawing as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::panel::{Area, Panel, TEXT, text, width};

/// Width of every figure.
const WIDTH: u32 = 1600;

/// Names with their colours.
pub(crate) type Legend = [(String, RGBColor)];

/// A picture with everything a page needs to show and explain it.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Name of its files, without extension.
    pub(crate) name: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// What is to be seen, in plain words.
    pub(crate) explanation: String,
    /// Names of colours.
    pub(crate) legend: Vec<(String, RGBColor)>,
    /// One, or several side by side.
    pub(crate) panels: Vec<Panel>,
}

impl Figure {
    /// Draws the figure, without ground: it stands on that of a page.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let columns = if self.panels.len() > 1 { 2 } else { 1 };
        let tallest = self.panels.iter().map(|panel| panel.height(columns)).max().unwrap_or(0);
        draw(&self.legend, &self.panels, columns, tallest)
    }
}

/// Draws panels of one height in so many columns, under their legend.
///
/// # Errors
/// When the drawing library refuses.
pub(super) fn draw(legend: &Legend, panels: &[Panel], columns: usize, height: u32) -> anyhow::Result<String> {
    let rows = panels.len().div_ceil(columns).max(1);
    let legend = rows_of(legend);
    let above = if legend.is_empty() { 10 } else { 40 * legend.len() as u32 + 16 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, above + height * rows as u32)).into_drawing_area();
        let (top, body) = root.split_vertically(above);
        for (row, entries) in legend.iter().enumerate() {
            draw_legend(&top, row, entries)?;
        }
        for (panel, area) in panels.iter().zip(body.split_evenly((rows, columns))) {
            panel.draw(&area)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// The same picture with white ground, for a file that may be shown on a dark page.
pub(crate) fn on_white(svg: &str) -> String {
    // The first tag is that of the picture.
    let (head, body) = svg.split_at(svg.find('>').map_or(0, |end| end + 1));
    format!("{head}\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\" stroke=\"none\"/>{body}")
}

/// The legend, broken into rows that fit.
fn rows_of(legend: &Legend) -> Vec<Vec<(i32, &str, RGBColor)>> {
    let mut rows: Vec<Vec<_>> = vec![];
    let mut x = f64::INFINITY;
    for (name, color) in legend {
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

fn draw_legend(area: &Area<'_>, row: usize, entries: &[(i32, &str, RGBColor)]) -> anyhow::Result<()> {
    let y = 28 + 40 * row as i32;
    let style = text(TEXT).pos(Pos::new(HPos::Left, VPos::Center));
    for (x, name, color) in entries {
        area.draw(&Rectangle::new([(*x, y - 10), (x + 28, y + 10)], color.filled()))?;
        area.draw(&Text::new(name.to_string(), (x + 38, y), style.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::axis::Axis;
    use crate::chart::palette::INK;
    use crate::chart::panel::Shape;

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
        let file = on_white(&svg);
        assert!(file.starts_with("<svg ") && file.len() > svg.len() && file.ends_with("</svg>\n"), "{file}");
    }
}
