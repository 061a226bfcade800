//! Angles of the rotary position embedding.

use std::f32::consts::TAU;

use crate::checkpoint::RopeScaling;

/// Angle per position of each rotary pair: `base^(-2i/d)` (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), scaled.
pub(super) fn inverse_frequencies(head_dim: usize, base: f32, scaling: &RopeScaling) -> Vec<f32> {
    (0..head_dim / 2).map(|pair| scaled(base.powf(-((2 * pair) as f32) / head_dim as f32), scaling)).collect()
}

/// Source of the formula of Llama 3.1: Meta's reference code, `apply_scaling` in
/// <https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py>.
fn scaled(frequency: f32, scaling: &RopeScaling) -> f32 {
    match *scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear(factor) => frequency / factor,
        RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context } => {
            let waves_in_context = original_context * frequency / TAU;
            let share_kept = (waves_in_context - low_frequency) / (high_frequency - low_frequency);
            let share_kept = share_kept.clamp(0.0, 1.0);
            (1.0 - share_kept) * frequency / factor + share_kept * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_scaling_the_first_pair_turns_one_radian_and_the_others_less() {
        assert_eq!(inverse_frequencies(4, 100.0, &RopeScaling::None), [1.0, 0.1]);
        assert_eq!(inverse_frequencies(4, 100.0, &RopeScaling::Linear(2.0)), [0.5, 0.05]);
    }

    /// Llama 3.1, head of 128, base 500,000: waves are shorter than 8192/4 tokens up to pair 28, longer than 8192 from pair 35.
    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones_eightfold() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_frequency: 1.0, high_frequency: 4.0, original_context: 8192.0 };
        let plain = inverse_frequencies(128, 500_000.0, &RopeScaling::None);
        let factors: Vec<f32> = inverse_frequencies(128, 500_000.0, &scaling)
            .iter()
            .zip(&plain)
            .map(|(scaled, plain)| plain / scaled)
            .collect();
        assert!(factors[..29].iter().all(|factor| *factor == 1.0), "{factors:?}");
        assert!(factors[35..].iter().all(|factor| (factor - 8.0).abs() < 1e-4), "{factors:?}");
        assert!(factors[29..35].windows(2).all(|pair| pair[0] < pair[1]), "{factors:?}");
    }
}
