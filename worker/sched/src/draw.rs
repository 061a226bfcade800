//! Numbers that look random and depend on what they are drawn for alone, so that the same calls give the same plans.

/// A number in [0, 1) for these ordinals: SplitMix64's output function (Steele et al. 2014) folded over them.
pub fn uniform(ordinals: &[u64]) -> f64 {
    let bits = ordinals.iter().fold(0, |state: u64, &ordinal| mix(state ^ ordinal));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(state: u64) -> u64 {
    finalise(state.wrapping_add(GOLDEN))
}

/// The step of SplitMix64's counter.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads the counter over all bits.
pub fn finalise(mut x: u64) -> u64 {
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
