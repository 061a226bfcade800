//! Integers of 5 to 8 bits, a byte each.

use super::integers::{Integers, four_bits, four_bits_of_part};
use super::packed::Columns;
use crate::simd::{BLOCK, LANES, PackedBytes, Panels, byte_at};

/// Weights that share one of the scales of [`add_products`].
pub(super) const RUN_WEIGHTS: usize = 16;

pub(super) fn set_byte(packed: &mut PackedBytes, row: usize, k: usize, q: i8) {
    let (chunk, byte) = byte_at(row, k);
    packed[chunk][byte] = q;
}

pub(super) fn bytes_of(packed: &PackedBytes, row: usize) -> [f32; BLOCK] {
    std::array::from_fn(|k| {
        let (chunk, byte) = byte_at(row, k);
        f32::from(packed[chunk][byte])
    })
}

/// Five bits of element `k` of a file's block of 32: 32 fifth bits, then four bits each.
pub(super) fn five_bits(file: &[u8], k: usize) -> u8 {
    four_bits(&file[4..], k) | (file[k / 8] >> (k % 8) & 1) << 4
}

/// Adds `x * d * q`, `q` times the scales of both halves where there are any: one multiply-add to each row's total.
#[inline(always)]
pub(super) fn add_products<'a, S: Panels<P>, const P: usize, const N: usize>(
    s: S,
    q: impl Fn(usize) -> &'a PackedBytes,
    scales: Option<&impl Fn(usize) -> &'a [[i8; LANES]; 2]>,
    d: S::F32,
    x: Columns<'_, i16, N>,
    totals: &mut [S::F32; N],
) {
    let mut sums = [s.no_word_sums(); N];
    for chunk in 0..BLOCK / 2 {
        let mut words = s.words(|panel| &q(panel)[chunk]);
        if let Some(scales) = scales {
            words = s.scale_words(words, |panel| &scales(panel)[2 * chunk / RUN_WEIGHTS]);
        }
        for n in 0..N {
            sums[n] = s.add_word_products(sums[n], words, &x.values[n].as_chunks().0[chunk]);
        }
    }
    for n in 0..N {
        totals[n] = s.fma(s.mul(d, s.splat(x.scales[n])), s.word_sums(sums[n]), totals[n]);
    }
}

type Scales = fn(usize) -> &'static [[i8; LANES]; 2];

/// [`add_products`] without further scales.
pub(super) const NO_SCALES: Option<&Scales> = None;

/// Integers of 5 bits.
impl Integers for PackedBytes {
    type Activation = i16;
    const FILE_BYTES: usize = 20;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        for k in 0..BLOCK {
            set_byte(self, row, k, five_bits(file, k) as i8);
        }
    }

    /// A file has 32 bytes, of which bit `part` is the fifth bit of a part's element, then four bits of all.
    fn set_part(&mut self, row: usize, file: &[u8], part: usize) {
        let (fifth, four) = file.split_at(BLOCK);
        for k in 0..BLOCK {
            set_byte(self, row, k, (four_bits_of_part(four, part, k) | (fifth[k] >> part & 1) << 4) as i8);
        }
    }

    fn row(&self, row: usize) -> [f32; BLOCK] {
        bytes_of(self, row)
    }

    #[inline(always)]
    fn add_products<'a, S: Panels<P>, const P: usize, const N: usize>(
        s: S,
        q: impl Fn(usize) -> &'a Self,
        [d, m]: [S::F32; 2],
        x: Columns<'_, i16, N>,
        totals: &mut [S::F32; N],
    ) {
        for n in 0..N {
            totals[n] = s.fma(m, s.splat(x.sums[n]), totals[n]);
        }
        add_products(s, q, NO_SCALES, d, x, totals);
    }

    #[inline(always)]
    fn column<'a, S: Panels<P>, const P: usize>(s: S, q: impl Fn(usize) -> &'a Self, k: usize) -> S::F32 {
        s.load(|panel| {
            let packed = q(panel);
            std::array::from_fn(|row| {
                let (chunk, byte) = byte_at(row, k);
                f32::from(packed[chunk][byte])
            })
        })
    }
}
