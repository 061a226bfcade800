//! [`Axis`]: a scale with ticks at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(super) label: String,
    logarithmic: bool,
    /// In drawing units: logarithms to base 10 where the axis is logarithmic.
    low: f64,
    high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `low` to `high`, with ticks at round numbers.
    pub(crate) fn linear(label: impl Into<String>, low: f64, high: f64) -> Self {
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
    pub(crate) fn logarithmic(label: impl Into<String>, low: f64, high: f64) -> Self {
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
    pub(crate) fn names(label: impl Into<String>, names: impl IntoIterator<Item = String>) -> Self {
        let ticks: Vec<_> = names.into_iter().enumerate().map(|(i, name)| (i as f64, name)).collect();
        Self { label: label.into(), logarithmic: false, low: -0.6, high: ticks.len() as f64 - 0.4, ticks }
    }

    /// Where `value` stands, in drawing units; at an end of the axis if it lies beyond.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        value.clamp(self.low, self.high)
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
}
