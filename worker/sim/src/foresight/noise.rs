//! The true remaining length times a lognormal factor: a forecaster of a given accuracy.

use crate::random::Random;
use eoscast_sched::{LEVELS, RemainingLength};

/// Quantiles of the standard normal distribution at [`LEVELS`].
const NORMAL: [f64; LEVELS.len()] = [
    -2.326_348, -1.644_854, -1.281_552, -0.841_621, -0.524_401, -0.253_347, 0.0, 0.253_347, 0.524_401, 0.841_621,
    1.281_552, 1.644_854, 2.326_348,
];

/// Tokens over which a drifting error becomes another one.
const DRIFT_TOKENS: u32 = 64;

/// With remaining length r the forecaster says r * exp(sigma z), z standard normal; given that, r itself is lognormal
/// about it with the same sigma, which is what the forecast states: it is calibrated, only not sharp.
#[derive(Debug)]
pub(super) struct Noise {
    sigma: f64,
    seed: u64,
    drifting: bool,
    /// Quantiles over the median.
    factors: [f64; LEVELS.len()],
    mean_factor: f64,
}

impl Noise {
    /// `cv` is the coefficient of variation of the factor: sqrt(exp(sigma^2) - 1).
    pub(super) fn new(cv: f64, drifting: bool, seed: u64) -> Self {
        let variance = (cv * cv).ln_1p();
        let sigma = variance.sqrt();
        let factors = NORMAL.map(|normal| (sigma * normal).exp());
        Self { sigma, seed, drifting, factors, mean_factor: (variance / 2.0).exp() }
    }

    pub(super) fn forecast(&self, row: usize, generated: u32, remaining: u32) -> RemainingLength {
        let median = f64::from(remaining) * (self.sigma * self.error(row as u64, generated)).exp();
        RemainingLength {
            mean: (median * self.mean_factor) as f32,
            quantiles: self.factors.map(|factor| (median * factor) as f32),
        }
    }

    /// Standard normal at each token; between the knots of a drifting error a mix whose weights' squares add up to 1.
    fn error(&self, row: u64, generated: u32) -> f64 {
        let knot = |index: u32| Random::new(self.seed, (row << 32) ^ u64::from(index) ^ 0x6e6f_6973).normal();
        if !self.drifting {
            return knot(0);
        }
        let index = generated / DRIFT_TOKENS;
        let angle = f64::from(generated % DRIFT_TOKENS) / f64::from(DRIFT_TOKENS) * std::f64::consts::FRAC_PI_2;
        knot(index) * angle.cos() + knot(index + 1) * angle.sin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_hold_as_often_as_they_say() {
        for drifting in [false, true] {
            let noise = Noise::new(0.8, drifting, 4);
            let n = 4000;
            for (i, level) in LEVELS.into_iter().enumerate() {
                let held = (0..n).filter(|&row| noise.forecast(row, 100, 500).quantiles[i] >= 500.0).count();
                let share = held as f32 / n as f32;
                assert!((share - level).abs() < 0.03, "{level}: {share}");
            }
        }
    }

    #[test]
    fn a_fixed_error_stays_and_a_drifting_one_moves_on_without_jumps() {
        let (fixed, drifting) = (Noise::new(0.5, false, 1), Noise::new(0.5, true, 1));
        assert_eq!(fixed.error(3, 10), fixed.error(3, 900));
        for token in 0..500 {
            assert!((drifting.error(3, token) - drifting.error(3, token + 1)).abs() < 0.2, "{token}");
        }
        assert!((drifting.error(3, 0) - drifting.error(3, 640)).abs() > 0.01);
    }
}
