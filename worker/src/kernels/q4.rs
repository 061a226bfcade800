//! Weights of 4 bits in blocks of 32: GGUF's Q4_0 (`d * (q - 8)`) and Q4_1 (`d * q + m`).

use super::int8::{BLOCK, PackedNibbles, nibble_at};
use super::packed::{PackedBlock, half_at, half_to_f32};
use super::simd::{LANES, Simd};

/// A file holds element `k` of a block in the low half of byte `k` for `k < 16`, in the high half of byte `k - 16` otherwise.
fn set_nibbles(packed: &mut PackedNibbles, row: usize, file: &[u8]) {
    for k in 0..BLOCK {
        let q = file[k % 16] >> if k < 16 { 0 } else { 4 } & 15;
        let (chunk, byte, shift) = nibble_at(row, k);
        packed[chunk][byte] = packed[chunk][byte] & !(15 << shift) | q << shift;
    }
}

fn nibbles_of(packed: &PackedNibbles, row: usize) -> [f32; BLOCK] {
    std::array::from_fn(|k| {
        let (chunk, byte, shift) = nibble_at(row, k);
        f32::from(packed[chunk][byte] >> shift & 15)
    })
}

/// Eight rows of a Q4_0 block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q4_0 {
    d: [u16; LANES],
    q: PackedNibbles,
}

impl PackedBlock for Q4_0 {
    const FILE_BYTES: usize = 18;
    type Unpacked<S: Simd> = (S::F32, S::Nibbles);

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        set_nibbles(&mut self.q, row, &file[2..]);
    }

    fn row(&self, row: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        nibbles_of(&self.q, row).map(|q| (q - 8.0) * d)
    }

    #[inline(always)]
    fn unpack<S: Simd>(&self, s: S) -> Self::Unpacked<S> {
        (s.load_f16(&self.d), s.nibbles(&self.q))
    }

    #[inline(always)]
    fn dot<S: Simd>(&self, s: S, (d, q): Self::Unpacked<S>, x: &[i8; BLOCK], sum: f32) -> S::F32 {
        s.mul(d, s.sub(s.dot_nibbles(q, x), s.splat(8.0 * sum)))
    }

    #[inline(always)]
    fn column<S: Simd>(&self, s: S, k: usize) -> S::F32 {
        s.mul(s.load_f16(&self.d), s.sub(s.nibble_column(&self.q, k), s.splat(8.0)))
    }
}

/// Eight rows of a Q4_1 block.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Q4_1 {
    d: [u16; LANES],
    m: [u16; LANES],
    q: PackedNibbles,
}

impl PackedBlock for Q4_1 {
    const FILE_BYTES: usize = 20;
    type Unpacked<S: Simd> = (S::F32, S::F32, S::Nibbles);

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.m[row] = half_at(file, 2);
        set_nibbles(&mut self.q, row, &file[4..]);
    }

    fn row(&self, row: usize) -> [f32; BLOCK] {
        let (d, m) = (half_to_f32(self.d[row]), half_to_f32(self.m[row]));
        nibbles_of(&self.q, row).map(|q| q * d + m)
    }

    #[inline(always)]
    fn unpack<S: Simd>(&self, s: S) -> Self::Unpacked<S> {
        (s.load_f16(&self.d), s.load_f16(&self.m), s.nibbles(&self.q))
    }

    #[inline(always)]
    fn dot<S: Simd>(&self, s: S, (d, m, q): Self::Unpacked<S>, x: &[i8; BLOCK], sum: f32) -> S::F32 {
        s.fma(d, s.dot_nibbles(q, x), s.mul(m, s.splat(sum)))
    }

    #[inline(always)]
    fn column<S: Simd>(&self, s: S, k: usize) -> S::F32 {
        s.fma(s.load_f16(&self.d), s.nibble_column(&self.q, k), s.load_f16(&self.m))
    }
}
