//! A hash that is the same on every machine and in every version: names draw seeds and samples by it.

/// FNV-1a (Fowler, Noll and Vo), started from `salt`.
pub fn fnv1a(text: &str, salt: u64) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325 ^ salt, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
