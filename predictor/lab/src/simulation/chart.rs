//! One figure as SVG.

use plotters::prelude::*;

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
/// Colours that can be told apart, also by most colour-blind readers (Okabe and Ito, Color Universal Design, 2008; then
/// darker and lighter relatives).
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
/// Of a figure, without the legend.
const SIZE: (u32, u32) = (1200, 640);
const LEGEND_ROW: u32 = 32;
const TEXT: f64 = 22.0;
/// Lines of so few points show them.
const POINTS: usize = 20;

/// Points, joined if there are several.
pub type Line = Vec<(f64, f64)>;

/// One picture: a line for each policy, or for each family of them.
pub struct Chart {
    /// Above it.
    pub title: String,
    /// What goes to the right.
    pub x: &'static str,
    /// What goes up.
    pub y: &'static str,
    /// Else from 0.
    pub logarithmic_x: bool,
    /// From 0 to this, or as far as lines and bars go.
    pub y_high: Option<f64>,
    /// With their names.
    pub lines: Vec<(String, Line)>,
    /// For each line the strokes between two points that show how sure it is; or none at all.
    pub bars: Vec<Vec<[(f64, f64); 2]>>,
}

impl Chart {
    /// Draws it.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self) -> anyhow::Result<String> {
        let above = 12 + LEGEND_ROW * self.lines.len().div_ceil(2) as u32;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 + above)).into_drawing_area();
            root.fill(&WHITE)?;
            let (top, body) = root.split_vertically(above);
            for (i, (name, _)) in self.lines.iter().enumerate() {
                let (x, y) = (40 + (i as i32 % 2) * SIZE.0 as i32 / 2, 24 + (i as i32 / 2) * LEGEND_ROW as i32);
                top.draw(&Rectangle::new([(x, y - 9), (x + 26, y + 9)], color(i).filled()))?;
                top.draw(&Text::new(name.clone(), (x + 36, y - 10), style(TEXT)))?;
            }
            let all = || self.lines.iter().flat_map(|(_, line)| line).chain(self.bars.iter().flatten().flatten());
            let x_high = all().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
            let y_high = self.y_high.unwrap_or_else(|| 1.05 * all().map(|(_, y)| *y).fold(1e-9, f64::max));
            let mut builder = ChartBuilder::on(&body);
            builder.caption(&self.title, style(TEXT)).margin(12).margin_right(36);
            builder.x_label_area_size(64).y_label_area_size(96);
            if self.logarithmic_x {
                let low = all().map(|(x, _)| *x).filter(|x| *x > 0.0).fold(x_high, f64::min);
                let chart = builder.build_cartesian_2d((low / 1.1..1.1 * x_high).log_scale(), 0.0..y_high)?;
                self.draw(chart)?;
            } else {
                let chart = builder.build_cartesian_2d(0.0..1.03 * x_high, 0.0..y_high)?;
                self.draw(chart)?;
            }
            root.present()?;
        }
        Ok(svg)
    }

    fn draw<X>(
        &self,
        mut chart: ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>,
    ) -> anyhow::Result<()>
    where
        X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(GRID.stroke_width(2));
        mesh.label_style(style(TEXT - 3.0)).axis_desc_style(style(TEXT)).x_desc(self.x).y_desc(self.y);
        let x_label = |x: &f64| if self.logarithmic_x && is_crowded(*x) { String::new() } else { number(*x) };
        mesh.x_label_formatter(&x_label).y_label_formatter(&|y| number(*y));
        mesh.draw()?;
        for (i, (_, line)) in self.lines.iter().enumerate() {
            chart.draw_series(LineSeries::new(line.iter().copied(), color(i).stroke_width(3)))?;
            let points = line.iter().filter(|_| line.len() <= POINTS);
            chart.draw_series(points.map(|point| Circle::new(*point, 6, color(i).filled())))?;
        }
        for (i, bars) in self.bars.iter().enumerate() {
            let bars = bars.iter().map(|ends| PathElement::new(*ends, color(i).mix(0.5).stroke_width(2)));
            chart.draw_series(bars)?;
        }
        Ok(())
    }
}

/// Whether a number stands so close to others on a logarithmic axis that only the grid line has room: all but 1, 2 and 5 times
/// a power of ten.
fn is_crowded(value: f64) -> bool {
    let leading = (value / 10f64.powf(value.log10().floor())).round();
    ![1.0, 2.0, 5.0, 10.0].contains(&leading)
}

/// Without the tail of digits that a multiple of a step may have.
fn number(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

fn color(policy: usize) -> RGBColor {
    PALETTE[policy % PALETTE.len()]
}

fn style(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_is_labelled_where_there_is_room() {
        let labelled = [0.1, 0.3, 20.0, 50.0, 60.0, 99.9999, 700.0, 900.0, 1000.0].map(|value| !is_crowded(value));
        assert_eq!(labelled, [true, false, true, true, false, true, false, false, true]);
        assert_eq!([0.1 + 0.2, 400.0, 1e-3].map(number), ["0.3", "400", "0.001"]);
    }
}
