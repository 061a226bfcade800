//! Weights that are a scale times an integer plus a minimum: GGUF's Q4_1 and Q5_1 in blocks of 32, Q4_K and Q5_K in blocks of 256.

use super::integers::Integers;
use super::packed::{Columns, PackedBlock, half_at, half_to_f32};
use crate::simd::{BLOCK, LANES, PackedBytes, PackedNibbles, Panels};

pub(crate) type Q4_1 = Affine<PackedNibbles>;
pub(crate) type Q5_1 = Affine<PackedBytes>;
pub(crate) type Q4K = AffineParts<PackedNibbles>;
pub(crate) type Q5K = AffineParts<PackedBytes>;

/// Eight rows of a block of 32 weights `d * q + m`.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Affine<Q> {
    d: [u16; LANES],
    m: [u16; LANES],
    q: Q,
}

impl<Q> Affine<Q> {
    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S) -> [S::F32; 2] {
        [s.load_f16(|panel| &blocks[panel].d), s.load_f16(|panel| &blocks[panel].m)]
    }
}

impl<Q: Integers> PackedBlock for Affine<Q> {
    type Activation = Q::Activation;
    const PARTS: usize = 1;
    const FILE_BYTES: usize = 4 + Q::FILE_BYTES;

    /// A file has `d`, `m` and the integers.
    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.m[row] = half_at(file, 2);
        self.q.set_row(row, &file[4..]);
    }

    fn row(&self, row: usize, _: usize) -> [f32; BLOCK] {
        let (d, m) = (half_to_f32(self.d[row]), half_to_f32(self.m[row]));
        self.q.row(row).map(|q| q * d + m)
    }

    #[inline(always)]
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        s: S,
        _: usize,
        x: Columns<'_, Q::Activation, N>,
        totals: &mut [S::F32; N],
    ) {
        Q::add_products(s, |panel| &blocks[panel].q, Self::scales(blocks, s), x, totals);
    }

    #[inline(always)]
    fn column<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, _: usize, k: usize) -> S::F32 {
        let [d, m] = Self::scales(blocks, s);
        s.fma(d, Q::column(s, |panel| &blocks[panel].q, k), m)
    }
}

/// Eight rows of a block of 256 weights `d * s * q - e * t`, whose parts of 32 have 6-bit scales `s` and `t`.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct AffineParts<Q> {
    d: [u16; LANES],
    e: [u16; LANES],
    scales: [[u8; LANES]; 8],
    minima: [[u8; LANES]; 8],
    q: [Q; 8],
}

impl<Q> AffineParts<Q> {
    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, part: usize) -> [S::F32; 2] {
        let [d, e] = [s.load_f16(|panel| &blocks[panel].d), s.load_f16(|panel| &blocks[panel].e)];
        let d = s.mul(d, s.load_u8(|panel| &blocks[panel].scales[part]));
        let m = s.mul(e, s.load_u8(|panel| &blocks[panel].minima[part]));
        [d, s.sub(s.splat(0.0), m)]
    }
}

impl<Q: Integers> PackedBlock for AffineParts<Q> {
    type Activation = Q::Activation;
    const PARTS: usize = 8;
    const FILE_BYTES: usize = 16 + Self::PARTS * Q::FILE_BYTES;

    /// A file has `d`, `e`, the scales of all parts, and the integers.
    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.e[row] = half_at(file, 2);
        for part in 0..Self::PARTS {
            let [scale, minimum] = six_bits(&file[4..16], part);
            (self.scales[part][row], self.minima[part][row]) = (scale, minimum);
            self.q[part].set_part(row, &file[16..], part);
        }
    }

    fn row(&self, row: usize, part: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]) * f32::from(self.scales[part][row]);
        let m = half_to_f32(self.e[row]) * f32::from(self.minima[part][row]);
        self.q[part].row(row).map(|q| q * d - m)
    }

    #[inline(always)]
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        s: S,
        part: usize,
        x: Columns<'_, Q::Activation, N>,
        totals: &mut [S::F32; N],
    ) {
        Q::add_products(s, |panel| &blocks[panel].q[part], Self::scales(blocks, s, part), x, totals);
    }

    #[inline(always)]
    fn column<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, part: usize, k: usize) -> S::F32 {
        let [d, m] = Self::scales(blocks, s, part);
        s.fma(d, Q::column(s, |panel| &blocks[panel].q[part], k), m)
    }
}

/// Scale and minimum of a part in the 12 bytes of a K-quant: the first four parts have 6 bits in a byte each, the others four
/// bits in a byte of both and the upper two in what the first left free.
fn six_bits(bytes: &[u8], part: usize) -> [u8; 2] {
    match part {
        0..4 => [bytes[part] & 63, bytes[part + 4] & 63],
        _ => {
            let upper = |byte: u8| byte >> 6 << 4;
            [bytes[part + 4] & 15 | upper(bytes[part - 4]), bytes[part + 4] >> 4 | upper(bytes[part])]
        }
    }
}
