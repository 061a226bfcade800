//! [`Integers`]: the integers of quantised weights, interleaved for the kernels.

use super::packed::Columns;
use super::quantize::ActivationInteger;
use crate::simd::{BLOCK, Panels};

/// Integers from 0 on, of eight rows of [`BLOCK`] weights.
pub(crate) trait Integers: Copy + Default + Sync {
    type Activation: ActivationInteger;
    /// Bytes of a row's integers in a GGUF file.
    const FILE_BYTES: usize;

    /// Takes over row `row` (0..8) from a file's block of 32.
    fn set_row(&mut self, row: usize, file: &[u8]);
    /// The same from part `part` (0..8) of a file's block of 256.
    fn set_part(&mut self, row: usize, file: &[u8], part: usize);
    fn row(&self, row: usize) -> [f32; BLOCK];
    /// Adds `x * (d * q + m)` to each row's total: one multiply-add for the minimum, one for the products. `#[inline(always)]`, as
    /// the method below.
    fn add_products<'a, S: Panels<P>, const P: usize, const N: usize>(
        s: S,
        q: impl Fn(usize) -> &'a Self,
        scales: [S::F32; 2],
        x: Columns<'_, Self::Activation, N>,
        totals: &mut [S::F32; N],
    ) where
        Self: 'a;
    /// Integer `k` (0..32) of each row.
    fn column<'a, S: Panels<P>, const P: usize>(s: S, q: impl Fn(usize) -> &'a Self, k: usize) -> S::F32
    where
        Self: 'a;
}

/// Four bits of element `k` of a block of 32: the low half of byte `k` for `k < 16`, the high half of byte `k - 16` otherwise.
pub(super) fn four_bits(file: &[u8], k: usize) -> u8 {
    file[k % 16] >> if k < 16 { 0 } else { 4 } & 15
}

/// Four bits of element `k` of a part of a block of 256: parts `2 i` and `2 i + 1` are the low and the high halves of the same 32
/// bytes.
pub(super) fn four_bits_of_part(file: &[u8], part: usize, k: usize) -> u8 {
    file[part / 2 * BLOCK + k] >> (4 * (part % 2)) & 15
}
