//! Weights of 4 bits: GGUF's Q4_0 (`d * (q - 8)`) and Q4_1 (`d * q + m`) in blocks of 32, and Q4_K (`d * s * q - e * t`) in blocks
//! of 256, whose parts of 32 have 6-bit scales `s` and `t`.

use super::packed::{Columns, PackedBlock, half_at, half_to_f32};
use crate::simd::{BLOCK, LANES, PackedNibbles, Panels, nibble_at};

/// A file holds element `k` of a block in the low half of byte `k` for `k < 16`, in the high half of byte `k - 16` otherwise.
fn set_nibbles(packed: &mut PackedNibbles, row: usize, file: &[u8]) {
    for k in 0..BLOCK {
        set_nibble(packed, row, k, file[k % 16] >> if k < 16 { 0 } else { 4 } & 15);
    }
}

fn set_nibble(packed: &mut PackedNibbles, row: usize, k: usize, q: u8) {
    let (chunk, byte, shift) = nibble_at(row, k);
    packed[chunk][byte] = packed[chunk][byte] & !(15 << shift) | q << shift;
}

fn nibbles_of(packed: &PackedNibbles, row: usize) -> [f32; BLOCK] {
    std::array::from_fn(|k| {
        let (chunk, byte, shift) = nibble_at(row, k);
        f32::from(packed[chunk][byte] >> shift & 15)
    })
}

/// Adds `x * (d * q + m)`: one multiply-add for the minimum, one for the products, to each row's total.
#[inline(always)]
fn add_products<'a, S: Panels<P>, const P: usize, const N: usize>(
    s: S,
    q: impl Fn(usize) -> &'a PackedNibbles,
    [d, m]: [S::F32; 2],
    x: Columns<'_, i8, N>,
    totals: &mut [S::F32; N],
) {
    let mut sums = [s.no_byte_sums(); N];
    // Not a loop: the compiler would keep one, and pay for it.
    add_chunk(s, |panel| &q(panel)[0], 0, x, &mut sums);
    add_chunk(s, |panel| &q(panel)[1], 1, x, &mut sums);
    add_chunk(s, |panel| &q(panel)[2], 2, x, &mut sums);
    add_chunk(s, |panel| &q(panel)[3], 3, x, &mut sums);
    for n in 0..N {
        let total = s.fma(m, s.splat(x.sums[n]), totals[n]);
        totals[n] = s.fma(s.mul(d, s.splat(x.scales[n])), s.byte_sums(sums[n]), total);
    }
}

#[inline(always)]
fn add_chunk<'a, S: Panels<P>, const P: usize, const N: usize>(
    s: S,
    weights: impl Fn(usize) -> &'a [u8; 32],
    chunk: usize,
    x: Columns<'_, i8, N>,
    sums: &mut [S::ByteSums; N],
) {
    let [low, high] = s.nibbles(weights);
    for n in 0..N {
        sums[n] = s.add_byte_products(sums[n], low, &x.values[n].as_chunks().0[2 * chunk]);
    }
    for n in 0..N {
        sums[n] = s.add_byte_products(sums[n], high, &x.values[n].as_chunks().0[2 * chunk + 1]);
    }
}

/// The products of a [`PackedBlock`] that has `nibbles`, and `scales` `[d, m]` by which a weight is `d * q + m`.
macro_rules! products_of_nibbles {
    () => {
        #[inline(always)]
        fn add_products<S: Panels<P>, const P: usize, const N: usize>(
            blocks: [&Self; P],
            s: S,
            part: usize,
            x: Columns<'_, i8, N>,
            totals: &mut [S::F32; N],
        ) {
            add_products(s, |panel| blocks[panel].nibbles(part), Self::scales(blocks, s, part), x, totals);
        }

        #[inline(always)]
        fn column<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, part: usize, k: usize) -> S::F32 {
            let [d, m] = Self::scales(blocks, s, part);
            s.fma(d, s.nibble_column(|panel| blocks[panel].nibbles(part), k), m)
        }
    };
}

/// Eight rows of a Q4_0 block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q4_0 {
    d: [u16; LANES],
    q: PackedNibbles,
}

impl Q4_0 {
    #[inline(always)]
    fn nibbles(&self, _: usize) -> &PackedNibbles {
        &self.q
    }

    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, _: usize) -> [S::F32; 2] {
        let d = s.load_f16(|panel| &blocks[panel].d);
        [d, s.mul(d, s.splat(-8.0))]
    }
}

impl PackedBlock for Q4_0 {
    type Activation = i8;
    const PARTS: usize = 1;
    const FILE_BYTES: usize = 18;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        set_nibbles(&mut self.q, row, &file[2..]);
    }

    fn row(&self, row: usize, _: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        nibbles_of(&self.q, row).map(|q| (q - 8.0) * d)
    }

    products_of_nibbles!();
}

/// Eight rows of a Q4_1 block.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Q4_1 {
    d: [u16; LANES],
    m: [u16; LANES],
    q: PackedNibbles,
}

impl Q4_1 {
    #[inline(always)]
    fn nibbles(&self, _: usize) -> &PackedNibbles {
        &self.q
    }

    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, _: usize) -> [S::F32; 2] {
        [s.load_f16(|panel| &blocks[panel].d), s.load_f16(|panel| &blocks[panel].m)]
    }
}

impl PackedBlock for Q4_1 {
    type Activation = i8;
    const PARTS: usize = 1;
    const FILE_BYTES: usize = 20;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.m[row] = half_at(file, 2);
        set_nibbles(&mut self.q, row, &file[4..]);
    }

    fn row(&self, row: usize, _: usize) -> [f32; BLOCK] {
        let (d, m) = (half_to_f32(self.d[row]), half_to_f32(self.m[row]));
        nibbles_of(&self.q, row).map(|q| q * d + m)
    }

    products_of_nibbles!();
}

/// Eight rows of a Q4_K block.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Q4K {
    d: [u16; LANES],
    e: [u16; LANES],
    scales: [[u8; LANES]; 8],
    minima: [[u8; LANES]; 8],
    q: [PackedNibbles; 8],
}

impl Q4K {
    #[inline(always)]
    fn nibbles(&self, part: usize) -> &PackedNibbles {
        &self.q[part]
    }

    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, part: usize) -> [S::F32; 2] {
        let [d, e] = [s.load_f16(|panel| &blocks[panel].d), s.load_f16(|panel| &blocks[panel].e)];
        let d = s.mul(d, s.load_u8(|panel| &blocks[panel].scales[part]));
        let m = s.mul(e, s.load_u8(|panel| &blocks[panel].minima[part]));
        [d, s.sub(s.splat(0.0), m)]
    }
}

impl PackedBlock for Q4K {
    type Activation = i8;
    const PARTS: usize = 8;
    const FILE_BYTES: usize = 144;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.e[row] = half_at(file, 2);
        for part in 0..Self::PARTS {
            let [scale, minimum] = six_bits(&file[4..16], part);
            (self.scales[part][row], self.minima[part][row]) = (scale, minimum);
            // Parts 2 i and 2 i + 1 are the low and the high halves of the same 32 bytes.
            let (bytes, shift) = (&file[16 + part / 2 * BLOCK..][..BLOCK], 4 * (part % 2));
            for (k, byte) in bytes.iter().enumerate() {
                set_nibble(&mut self.q[part], row, k, byte >> shift & 15);
            }
        }
    }

    fn row(&self, row: usize, part: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]) * f32::from(self.scales[part][row]);
        let m = half_to_f32(self.e[row]) * f32::from(self.minima[part][row]);
        nibbles_of(&self.q[part], row).map(|q| q * d - m)
    }

    products_of_nibbles!();
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
