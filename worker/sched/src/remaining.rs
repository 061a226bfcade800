//! A forecast of remaining length: a mean and quantiles, and the same some tokens later.
//!
//! Between two quantiles the hazard is constant, so the survival function falls exponentially; below the first it does
//! so from 0 tokens, and above the last it keeps the hazard before it, or ends within about a token where that is
//! infinite: so a request that outlived its forecast still has one.

/// Probabilities at which a [`RemainingLength`] holds quantiles.
pub const LEVELS: [f32; 13] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

const LAST: usize = LEVELS.len() - 1;

/// Distribution over the remaining *service* length: the tokens a request will still generate, cut by `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RemainingLength {
    /// Expected remaining length, tokens.
    pub mean: f32,
    /// Quantiles of the remaining length at [`LEVELS`], tokens, not decreasing.
    pub quantiles: [f32; 13],
}

impl RemainingLength {
    /// Exactly `tokens` remain.
    pub fn certain(tokens: u32) -> Self {
        Self { mean: tokens as f32, quantiles: [tokens as f32; 13] }
    }

    /// Tokens not exceeded with probability `level`, which is clamped to the range of [`LEVELS`].
    pub fn quantile(&self, level: f32) -> f32 {
        self.tokens_at(1.0 - f64::from(level.clamp(LEVELS[0], LEVELS[LAST]))) as f32
    }

    /// Probability that more than `tokens` remain.
    pub fn survival(&self, tokens: f32) -> f32 {
        self.survival_at(f64::from(tokens)) as f32
    }

    /// The forecast `tokens` tokens later, given that the request has not ended by then.
    ///
    /// With S the survival function and k the tokens, the conditional one is S(x + k) / S(k), and the mean of what is
    /// left is the integral of S above k, over S(k). The latter is scaled so that the mean agrees at k = 0.
    pub fn after(&self, tokens: u32) -> Self {
        if tokens == 0 {
            return *self;
        }
        let later = f64::from(tokens);
        let scale = f64::from(self.mean) / self.survival_integral(0.0);
        if later >= self.knot(LAST).0 {
            // An exponential tail has no memory; dividing by S(k) would underflow far out.
            let tail = self.tail_tokens();
            let quantiles = LEVELS.map(|level| (-tail * (1.0 - f64::from(level)).ln()) as f32);
            return Self { mean: (tail * scale) as f32, quantiles };
        }
        let alive = self.survival_at(later);
        Self {
            mean: (self.survival_integral(later) / alive * scale) as f32,
            quantiles: LEVELS.map(|level| (self.tokens_at((1.0 - f64::from(level)) * alive) - later).max(0.0) as f32),
        }
    }

    /// Probabilities that more than 0, 1, 2, ... tokens remain.
    ///
    /// Between two quantiles each is the one before times a constant, so that most cost a multiplication.
    pub(crate) fn survival_by_token(self) -> impl Iterator<Item = f64> {
        let (mut tokens, mut survival, mut factor, mut until) = (0u32, 1.0, 1.0, f64::NEG_INFINITY);
        std::iter::from_fn(move || {
            if f64::from(tokens) >= until {
                survival = self.survival_at(f64::from(tokens));
                (factor, until) = self.decay_at(f64::from(tokens));
            }
            let now = survival;
            survival *= factor;
            tokens = tokens.saturating_add(1);
            Some(now)
        })
    }

    /// By what the survival function falls in a token from `tokens` on, and up to where.
    fn decay_at(&self, tokens: f64) -> (f64, f64) {
        let next = self.quantiles.partition_point(|&quantile| f64::from(quantile) <= tokens);
        if next > LAST {
            return ((-1.0 / self.tail_tokens()).exp(), f64::INFINITY);
        }
        let ((from, upper), (to, lower)) = (self.knot_before(next), self.knot(next));
        ((lower / upper).powf(1.0 / (to - from)), to)
    }

    /// Variance of the remaining length, tokens squared, with the distribution function straight between quantiles and
    /// nothing beyond the first and the last.
    pub(crate) fn variance(&self) -> f64 {
        let (mut mean, mut square, mut total) = (0.0, 0.0, 0.0);
        for i in 1..=LAST {
            let ((from, upper), (to, lower)) = (self.knot(i - 1), self.knot(i));
            let share = upper - lower;
            total += share;
            mean += share * (from + to) / 2.0;
            square += share * (from * from + from * to + to * to) / 3.0;
        }
        (square / total - (mean / total).powi(2)).max(0.0)
    }

    /// The quantile at `LEVELS[i]` and the survival probability there.
    fn knot(&self, i: usize) -> (f64, f64) {
        (f64::from(self.quantiles[i]), 1.0 - f64::from(LEVELS[i]))
    }

    /// The knot before `i`; before the first it is the start, which everything survives.
    fn knot_before(&self, i: usize) -> (f64, f64) {
        if i == 0 { (0.0, 1.0) } else { self.knot(i - 1) }
    }

    /// Mean excess over the last quantile: S falls from the last knot but one to the last as exp(-x / tail).
    fn tail_tokens(&self) -> f64 {
        let ((from, upper), (to, lower)) = (self.knot(LAST - 1), self.knot(LAST));
        ((to - from) / (upper / lower).ln()).max(1.0)
    }

    fn survival_at(&self, tokens: f64) -> f64 {
        let next = self.quantiles.partition_point(|&quantile| f64::from(quantile) <= tokens);
        if next > LAST {
            let (last, probability) = self.knot(LAST);
            return probability * (-(tokens - last) / self.tail_tokens()).exp();
        }
        let ((from, upper), (to, lower)) = (self.knot_before(next), self.knot(next));
        upper * (lower / upper).powf(((tokens - from) / (to - from)).max(0.0))
    }

    /// The inverse of [`survival_at`](Self::survival_at).
    fn tokens_at(&self, survival: f64) -> f64 {
        let Some(next) = (0..=LAST).find(|&i| self.knot(i).1 <= survival) else {
            let (last, probability) = self.knot(LAST);
            return last + self.tail_tokens() * (probability / survival).ln();
        };
        let ((from, upper), (to, lower)) = (self.knot_before(next), self.knot(next));
        from + (to - from) * ((upper / survival).ln() / (upper / lower).ln())
    }

    /// The integral of the survival function above `start`, which is at most the last quantile.
    fn survival_integral(&self, start: f64) -> f64 {
        let alive = self.survival_at(start);
        let segments = (0..=LAST).map(|i| {
            let (before, (to, lower)) = (self.knot_before(i), self.knot(i));
            if to <= start {
                return 0.0;
            }
            let (from, upper) = if before.0 < start { (start, alive) } else { before };
            // Of exp(-h x) over a length: what it falls by, over h.
            (to - from) * (upper - lower) / (upper / lower).ln()
        });
        segments.sum::<f64>() + self.knot(LAST).1 * self.tail_tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uniform(length: f32) -> RemainingLength {
        RemainingLength { mean: length / 2.0, quantiles: LEVELS.map(|level| level * length) }
    }

    fn close(left: f32, right: f32, tolerance: f32) -> bool {
        (left - right).abs() <= tolerance
    }

    #[test]
    fn quantiles_are_exact_at_the_levels_and_between_the_neighbours_elsewhere() {
        let forecast = uniform(1000.0);
        for (level, quantile) in LEVELS.into_iter().zip(forecast.quantiles) {
            assert_eq!(forecast.quantile(level), quantile);
        }
        assert!(close(forecast.quantile(0.25), 250.0, 3.0));
        assert_eq!((forecast.quantile(0.0), forecast.quantile(1.0)), (10.0, 990.0));
    }

    #[test]
    fn survival_inverts_the_quantile() {
        let forecast = uniform(1000.0);
        for level in [0.02, 0.33, 0.5, 0.87, 0.98] {
            assert!(close(forecast.survival(forecast.quantile(level)), 1.0 - level, 1e-5));
        }
        assert_eq!(forecast.survival(0.0), 1.0);
        assert!(forecast.survival(2000.0) < 0.01);
    }

    #[test]
    fn survival_by_token_is_survival_at_each() {
        for forecast in [uniform(90.0), uniform(0.5), RemainingLength::certain(40), uniform(40.0).after(60)] {
            for (tokens, survival) in (0u16..200).zip(forecast.survival_by_token()) {
                let expected = forecast.survival_at(f64::from(tokens));
                assert!((survival - expected).abs() < 1e-9, "{forecast:?} {tokens}: {survival} {expected}");
            }
        }
    }

    #[test]
    fn the_variance_is_that_of_the_length() {
        assert_eq!(RemainingLength::certain(70).variance(), 0.0);
        let exact = 1000.0f64.powi(2) / 12.0;
        assert!((uniform(1000.0).variance() / exact - 1.0).abs() < 0.05, "{}", uniform(1000.0).variance());
    }

    #[test]
    fn a_uniform_length_stays_uniform_over_what_is_left() {
        let later = uniform(1000.0).after(400);
        assert!(close(later.mean, 300.0, 3.0), "{later:?}");
        assert!(close(later.quantile(0.5), 300.0, 3.0), "{later:?}");
    }

    #[test]
    fn an_exponential_length_has_no_memory() {
        let mut exponential =
            RemainingLength { mean: 200.0, quantiles: LEVELS.map(|level| -200.0 * (1.0 - level).ln()) };
        for _ in 0..5 {
            exponential = exponential.after(150);
        }
        assert!(close(exponential.mean, 200.0, 0.1), "{exponential:?}");
        assert!(close(exponential.quantile(0.8), 321.9, 0.1), "{exponential:?}");
    }

    #[test]
    fn a_certain_length_counts_down_and_then_expects_about_a_token() {
        let later = RemainingLength::certain(500).after(400);
        assert!(close(later.mean, 100.0, 1.0) && close(later.quantile(0.9), 100.0, 0.1), "{later:?}");
        let outlived = RemainingLength::certain(500).after(1_000_000);
        assert!(close(outlived.mean, 1.0, 0.1), "{outlived:?}");
    }

    proptest! {
        #[test]
        fn ageing_keeps_a_proper_distribution(
            steps in prop::array::uniform13(0.0f32..300.0),
            mean in 0.0f32..2000.0,
            tokens in 0u32..5000,
        ) {
            let mut total = 0.0;
            let quantiles = steps.map(|step| { total += step; total });
            let forecast = RemainingLength { mean, quantiles };
            let later = forecast.after(tokens);
            prop_assert!(later.mean.is_finite() && later.mean >= 0.0, "{:?}", later);
            prop_assert!(later.quantiles.is_sorted() && later.quantiles[0] >= 0.0, "{:?}", later);
            for level in [0.05f32, 0.5, 0.95] {
                let ends_by = later.quantile(level) + tokens as f32;
                let expected = (1.0 - level) * forecast.survival(tokens as f32);
                // A jump of the distribution function has no inverse, so only "at most" holds there.
                prop_assert!(forecast.survival(ends_by) <= expected + 1e-3, "{} {}", ends_by, expected);
            }
        }
    }
}
