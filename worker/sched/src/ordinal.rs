//! Maps by ordinal. Requests are looked up several times a step, and their keys are the caller's own: a multiplication
//! spreads them well enough, where the standard hash guards against keys that an attacker chose.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Hashed without random keys: the order of iteration depends on the calls alone.
pub(crate) type OrdinalMap<T> = HashMap<u64, T, BuildHasherDefault<OrdinalHasher>>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OrdinalHasher(u64);

/// 2^64 over the golden ratio, odd (Knuth, TAOCP 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for OrdinalHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, ordinal: u64) {
        // The map takes a place from the low bits and a tag from the high ones: both must depend on all.
        let product = u128::from(self.0 ^ ordinal) * u128::from(SPREAD);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_in_a_row_or_far_apart_fall_into_different_places() {
        for step in [1, 64, 1 << 20, 1 << 32, 1 << 48] {
            let places: std::collections::HashSet<u64> = (0..4096)
                .map(|i| {
                    let mut hasher = OrdinalHasher::default();
                    hasher.write_u64(i * step);
                    hasher.finish() & 0xffff
                })
                .collect();
            assert!(places.len() > 3500, "{} places by {step}", places.len());
        }
    }
}
