//! [`Forecast`]: the numbers of a forecast; [`ModelForecast`]: the same with the model that made it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Probability levels at which distributions travel.
pub const QUANTILE_LEVELS: [f32; 13] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// Horizons, in tokens, for which the probability of ending is given.
pub const END_WITHIN: [u32; 5] = [1, 8, 16, 32, 64];

/// Index of the level 0.5 in [`QUANTILE_LEVELS`].
const MEDIAN: usize = 6;

/// A distribution over one request's remaining service length (tokens still to generate, at most `max_tokens - step`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Expected tokens.
    pub mean: f32,
    /// Tokens at [`QUANTILE_LEVELS`], never decreasing.
    pub quantiles: [f32; QUANTILE_LEVELS.len()],
    /// Probability of a natural end within [`END_WITHIN`] tokens, never decreasing.
    pub end_within: [f32; END_WITHIN.len()],
}

impl Forecast {
    /// Certain of one number of tokens.
    pub fn point(tokens: f32) -> Self {
        Self {
            mean: tokens,
            quantiles: [tokens; QUANTILE_LEVELS.len()],
            end_within: END_WITHIN.map(|k| f32::from(u8::from(tokens <= k as f32))),
        }
    }

    /// With lengths brought into `0 ..= cap`.
    #[must_use]
    pub fn clip(mut self, cap: u32) -> Self {
        let cap = cap as f32;
        self.mean = self.mean.clamp(0.0, cap);
        self.quantiles = self.quantiles.map(|quantile| quantile.clamp(0.0, cap));
        self
    }

    /// With lengths shorter by `tokens`, and at least 1.
    #[must_use]
    pub fn after(mut self, tokens: u32) -> Self {
        let tokens = tokens as f32;
        self.mean = (self.mean - tokens).max(1.0);
        self.quantiles = self.quantiles.map(|quantile| (quantile - tokens).max(1.0));
        self
    }

    /// The point that has the least expected absolute error.
    pub fn median(&self) -> f64 {
        f64::from(self.quantiles[MEDIAN])
    }

    /// Tokens not exceeded with probability `level`, linear between [`QUANTILE_LEVELS`]; beyond the highest it rises to `cap`, the
    /// most the reply can have, and below the lowest it stays.
    pub fn quantile(&self, level: f64, cap: u32) -> f64 {
        let above = QUANTILE_LEVELS.partition_point(|at| f64::from(*at) < level - 1e-6);
        let (left, low) = match above.checked_sub(1) {
            Some(i) => (f64::from(QUANTILE_LEVELS[i]), f64::from(self.quantiles[i])),
            None => return f64::from(self.quantiles[0]),
        };
        let (right, high) = match QUANTILE_LEVELS.get(above) {
            Some(right) => (f64::from(*right), f64::from(self.quantiles[above])),
            None => (1.0, f64::from(cap)),
        };
        low + (high - low) * ((level - left) / (right - left)).clamp(0.0, 1.0)
    }

    /// The interval that is to hold the truth with probability `share`: whole tokens, both ends included; half of what is left out
    /// lies on each side.
    pub fn interval(&self, share: f64, cap: u32) -> (f64, f64) {
        let half = (1.0 - share) / 2.0;
        (whole_tokens(self.quantile(half, cap)), whole_tokens(self.quantile(1.0 - half, cap)))
    }

    /// Variance of the length, tokens squared, with the distribution function straight between quantiles and nothing beyond the
    /// first and the last.
    pub fn variance(&self) -> f64 {
        let (mut mean, mut square, mut total) = (0.0, 0.0, 0.0);
        for (levels, tokens) in QUANTILE_LEVELS.windows(2).zip(self.quantiles.windows(2)) {
            let (share, from, to) = (f64::from(levels[1] - levels[0]), f64::from(tokens[0]), f64::from(tokens[1]));
            total += share;
            mean += share * (from + to) / 2.0;
            square += share * (from * from + from * to + to * to) / 3.0;
        }
        (square / total - (mean / total).powi(2)).max(0.0)
    }

    /// Whether both are equal bit for bit.
    pub fn same_bits(&self, other: &Self) -> bool {
        let bits = |f: &Self| {
            let numbers = std::iter::once(f.mean).chain(f.quantiles).chain(f.end_within);
            numbers.map(f32::to_bits).collect::<Vec<_>>()
        };
        bits(self) == bits(other)
    }
}

/// A length in whole tokens, of a real number whose round-up it is; rounding errors of `f32` are no token more.
pub fn whole_tokens(length: f64) -> f64 {
    (length - 1e-3).ceil()
}

/// What a model said of one request, and the state of the model that said it. Cheap to clone.
///
/// It is logged as one flat object: `source`, `model_version`, `mean`, `quantiles`, `end_within`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "FlatForecast")]
pub struct ModelForecast {
    /// Kind of the model.
    pub source: Arc<str>,
    /// State of the model.
    pub model_version: Arc<str>,
    /// The numbers.
    #[serde(flatten)]
    pub remaining: Forecast,
}

impl ModelForecast {
    /// Whether both are equal bit for bit.
    pub fn same_bits(&self, other: &Self) -> bool {
        self.source == other.source
            && self.model_version == other.model_version
            && self.remaining.same_bits(&other.remaining)
    }
}

/// What [`ModelForecast`] is read from. With `flatten`, serde would read each number as `f64` first and round it twice.
#[derive(Deserialize)]
struct FlatForecast {
    source: Arc<str>,
    model_version: Arc<str>,
    mean: f32,
    quantiles: [f32; QUANTILE_LEVELS.len()],
    end_within: [f32; END_WITHIN.len()],
}

impl From<FlatForecast> for ModelForecast {
    fn from(flat: FlatForecast) -> Self {
        let FlatForecast { source, model_version, mean, quantiles, end_within } = flat;
        Self { source, model_version, remaining: Forecast { mean, quantiles, end_within } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rising() -> Forecast {
        Forecast { mean: 50.0, quantiles: QUANTILE_LEVELS.map(|level| 100.0 * level), end_within: [0.0; 5] }
    }

    #[test]
    fn quantiles_are_linear_between_the_levels_that_are_told() {
        let forecast = rising();
        assert!((forecast.quantile(0.25, 200) - 25.0).abs() < 1e-4);
        assert!((forecast.quantile(0.99, 200) - 99.0).abs() < 1e-4);
        assert!((forecast.quantile(0.995, 200) - 149.5).abs() < 1e-3, "half way from the last level to the cap");
        assert_eq!((forecast.quantile(1.0, 200), forecast.quantile(0.0, 200)), (200.0, 1.0));
    }

    #[test]
    fn an_interval_leaves_as_much_out_below_as_above() {
        assert_eq!(rising().interval(0.8, 200), (10.0, 90.0));
        assert_eq!(rising().clip(80).interval(0.8, 80), (10.0, 80.0));
    }

    #[test]
    fn the_variance_is_that_of_the_length() {
        assert_eq!(Forecast::point(70.0).variance(), 0.0);
        // Uniform from 1 to 99: 98 squared, over 12.
        assert!((rising().variance() - 98.0 * 98.0 / 12.0).abs() < 0.1, "{}", rising().variance());
    }

    #[test]
    fn a_point_is_every_quantile() {
        let forecast = Forecast::point(40.0).clip(30);
        assert_eq!((forecast.mean, forecast.median(), forecast.interval(0.9, 30)), (30.0, 30.0, (30.0, 30.0)));
        assert_eq!(Forecast::point(16.0).end_within, [0.0, 0.0, 1.0, 1.0, 1.0]);
    }
}
