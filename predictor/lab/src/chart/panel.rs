//! [`Panel`]: a pair of axes and what is drawn between them.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::palette::{GRID, INK};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// More names than this stand beside their lines, not in a legend above the panel.
pub(crate) const MOST_IN_LEGEND: usize = 3;
/// Sizes of text. Coordinates are whole numbers, so figures are drawn large and shown at half the size.
pub(super) const TEXT: f64 = 27.0;
const SMALL: f64 = 23.0;
/// From one name beside a panel to the next.
const NAME_ROW: i32 = 32;
/// From the end of a panel to the names beside it.
const LEADER: i32 = 40;
/// Room for the colour before a name.
const SWATCH: i32 = 30;

/// A pair of axes and what is drawn between them.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    /// Heading, if there are several panels.
    pub(crate) title: String,
    /// Left to right.
    pub(crate) x: Axis,
    /// Bottom to top.
    pub(crate) y: Axis,
    /// Back to front.
    pub(crate) shapes: Vec<Shape>,
}

/// What is drawn, in the units of the axes.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
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
    /// Strokes between two points, that show how sure something is.
    Strokes(Vec<[(f64, f64); 2]>, RGBColor),
    /// The name of what ends at this point, written beside the panel.
    Name(String, (f64, f64), RGBColor),
}

impl Shape {
    /// The name of the line or the points `points`, at the rightmost of them; `None` without any.
    pub(crate) fn name(name: &str, points: &[(f64, f64)], color: RGBColor) -> Option<Self> {
        let rightmost = points.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Self::Name(name.to_owned(), *rightmost, color))
    }
}

/// About how wide a text is in pixels; no font is at hand when a figure is laid out.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.5
}

/// A text style as plotters counts sizes.
pub(super) fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A name, the pixel that it belongs to, and its colour.
type Named<'a> = (&'a str, (i32, i32), RGBColor);

/// Writes names in a column that begins at `x`, each as near to the height of its point as others leave room.
fn draw_names(area: &Area<'_>, names: &[Named<'_>], x: i32, heights: Range<i32>) -> anyhow::Result<()> {
    let mut names = names.to_vec();
    // Of two points of one height, that on the right has the higher name, so that their lines do not cross.
    names.sort_by_key(|(_, (x, y), _)| (*y, -*x));
    let wanted: Vec<i32> = names.iter().map(|(_, (_, y), _)| *y).collect();
    let style = text(SMALL).pos(Pos::new(HPos::Left, VPos::Center));
    for ((name, from, color), y) in names.into_iter().zip(spread(&wanted, NAME_ROW, heights)) {
        let (column, swatch) = (x + LEADER, x + LEADER + SWATCH - 8);
        area.draw(&PathElement::new([from, (column, y)], color.mix(0.45).stroke_width(1)))?;
        area.draw(&Rectangle::new([(column, y - 7), (swatch, y + 7)], color.filled()))?;
        area.draw(&Text::new(name.to_owned(), (swatch + 8, y), style.clone()))?;
    }
    Ok(())
}

/// Places at least `row` apart, near the `wanted` ones, which rise, and within `range` as far as there is room.
fn spread(wanted: &[i32], row: i32, range: Range<i32>) -> Vec<i32> {
    let mut places = wanted.to_vec();
    let mut least = range.start;
    for place in &mut places {
        *place = least.max(*place);
        least = *place + row;
    }
    let mut most = range.end.max(range.start + row * (wanted.len() as i32 - 1));
    for place in places.iter_mut().rev() {
        *place = most.min(*place);
        most = *place - row;
    }
    places
}

impl Panel {
    pub(super) fn height(&self, columns: usize) -> u32 {
        let names = self.y.ticks.len() as u32;
        match columns {
            // Rows of names need room, however many there are.
            1 => 640.max(140 + 44 * names),
            _ => 580.max(140 + 44 * names),
        }
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        let mut builder = ChartBuilder::on(area);
        if !self.title.is_empty() {
            builder.caption(&self.title, text(TEXT));
        }
        let mut chart = builder
            .margin(12)
            .margin_right(44 + self.room_for_names())
            .x_label_area_size(84)
            .y_label_area_size(self.widest_tick() + 76.0)
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
                Shape::Strokes(strokes, color) => {
                    let style = color.mix(0.5).stroke_width(3);
                    chart.draw_series(strokes.iter().map(|[a, b]| PathElement::new([at(*a), at(*b)], style)))?;
                }
                // Beside the panel, once all else is drawn.
                Shape::Name(..) => {}
            }
        }
        let (left, top) = area.get_base_pixel();
        let (xs, ys) = chart.plotting_area().get_pixel_range();
        let pixel = |point| {
            let (x, y) = chart.backend_coord(&at(point));
            (x - left, y - top)
        };
        draw_names(area, &self.names(pixel), xs.end - left, ys.start - top..ys.end - top)
    }

    fn widest_tick(&self) -> f64 {
        self.y.ticks.iter().map(|(_, text)| width(text, SMALL)).fold(0.0, f64::max)
    }

    /// The names, and in pixels the points that they belong to.
    fn names(&self, pixel: impl Fn((f64, f64)) -> (i32, i32)) -> Vec<Named<'_>> {
        let names = self.shapes.iter().filter_map(|shape| match shape {
            Shape::Name(name, point, color) => Some((name.as_str(), pixel(*point), *color)),
            _ => None,
        });
        names.collect()
    }

    fn room_for_names(&self) -> i32 {
        let name = |shape: &Shape| match shape {
            Shape::Name(name, ..) => Some(width(name, SMALL) as i32 + LEADER + SWATCH),
            _ => None,
        };
        self.shapes.iter().filter_map(name).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_points_unless_others_do() {
        assert_eq!(spread(&[10, 50, 90], 20, 0..100), [10, 50, 90]);
        assert_eq!(spread(&[10, 12, 14], 20, 0..100), [10, 30, 50]);
        assert_eq!(spread(&[90, 95, 99], 20, 0..100), [60, 80, 100]);
        assert_eq!(spread(&[-5, 300], 20, 0..100), [0, 100]);
        // More than there is room for go on below.
        assert_eq!(spread(&[0, 0, 0], 20, 0..30), [0, 20, 40]);
        assert_eq!(spread(&[], 20, 0..30), [0; 0]);
    }
}
