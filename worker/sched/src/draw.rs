//! Numbers that look random and depend on what they are drawn for alone, so that the same calls give the same plans.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a counter that is mixed, so that any seed is as good as another.
///
/// The rules that draw use it, and so does the simulator, so that a run depends on its seed alone.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream of its own for each `(seed, stream)`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(finalise(finalise(seed) ^ stream))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        finalise(self.0)
    }
}

/// A number in [0, 1) for these ordinals: the output function of SplitMix64 folded over them.
pub(crate) fn uniform(ordinals: &[u64]) -> f64 {
    let bits = ordinals.iter().fold(0, |state: u64, &ordinal| SplitMix64(state ^ ordinal).bits());
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The step of the counter.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads the counter over all bits.
fn finalise(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly_along_every_ordinal() {
        let draws = |at: fn(u64) -> [u64; 2]| (0..10_000).map(move |i| uniform(&at(i)));
        for at in [(|i| [i, 0]) as fn(u64) -> [u64; 2], |i| [0, i], |i| [i, i]] {
            let mean = draws(at).sum::<f64>() / 1e4;
            let square = draws(at).map(|draw| draw * draw).sum::<f64>() / 1e4;
            assert!((mean - 0.5).abs() < 0.01 && (square - 1.0 / 3.0).abs() < 0.01, "{mean} {square}");
        }
        assert!(draws(|i| [i, 0]).all(|draw| (0.0..1.0).contains(&draw)));
    }
}
