//! Ages of a reply: the bins of tokens generated in which forecasts are calibrated and judged.

use eoscast_log::record::Pits;

/// Tokens generated at which each age begins.
pub const AGES: [u32; Pits::AGES] = [0, 16, 64, 128, 256];

/// The ages as tables and metrics name them.
pub const AGE_NAMES: [&str; Pits::AGES] = ["0-15", "16-63", "64-127", "128-255", "256+"];

/// The age, as an index of [`AGES`], of a reply with `step` tokens.
pub fn age(step: u32) -> usize {
    AGES.partition_point(|start| *start <= step) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_begin_where_they_say() {
        let ages: Vec<usize> = [0, 15, 16, 63, 64, 127, 128, 255, 256, u32::MAX].map(age).into();
        assert_eq!(ages, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    }
}
