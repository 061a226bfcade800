//! Random numbers that depend on a seed alone.

use eoscast_sched::SplitMix64;

/// Draws from the distributions that traces and forecasts need, over [`SplitMix64`].
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// A stream of its own for each `(seed, stream)`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(SplitMix64::new(seed, stream))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// From `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        let count = u64::from(high.saturating_sub(low)) + 1;
        // The product of 64 bits and a count of at most 2^32 keeps the bias below 2^-32; its upper half is below `count`.
        low + ((u128::from(self.bits()) * u128::from(count)) >> 64) as u32
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Standard normal (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts the items in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // Fewer items than u32 counts are in a trace that fits memory; further ones would only be moved less.
            let other = self.between(0, u32::try_from(last).unwrap_or(u32::MAX)) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_spreads_are_those_of_the_distributions() {
        let mut random = Random::new(3, 1);
        let n = 40_000;
        let moments = |draw: &mut dyn FnMut() -> f64| {
            let values: Vec<f64> = (0..n).map(|_| draw()).collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / f64::from(n);
            (mean, variance)
        };
        let measured = [
            (moments(&mut || random.uniform()), (0.5, 1.0 / 12.0)),
            (moments(&mut || random.exponential()), (1.0, 1.0)),
            (moments(&mut || random.normal()), (0.0, 1.0)),
        ];
        for ((mean, variance), expected) in measured {
            assert!((mean - expected.0).abs() < 0.02 && (variance - expected.1).abs() < 0.04, "{mean} {variance}");
        }
    }

    #[test]
    fn every_whole_number_of_a_range_is_drawn_and_no_other() {
        let mut random = Random::new(0, 0);
        let mut drawn: Vec<u32> = (0..400).map(|_| random.between(7, 11)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [7, 8, 9, 10, 11]);
        assert_eq!(random.between(5, 4), 5);
    }
}
