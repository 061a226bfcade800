//! Weights of 8 bits in blocks of 32: GGUF's Q8_0 (`d * q`).

use super::int8::{BLOCK, PackedBytes, byte_at};
use super::packed::{PackedBlock, half_at, half_to_f32};
use super::simd::{LANES, Simd};

/// Eight rows of a Q8_0 block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q8_0 {
    d: [u16; LANES],
    q: PackedBytes,
}

impl PackedBlock for Q8_0 {
    const FILE_BYTES: usize = 34;
    type Unpacked<S: Simd> = S::F32;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        for (k, &q) in file[2..].iter().enumerate() {
            let (chunk, byte) = byte_at(row, k);
            self.q[chunk][byte] = q as i8;
        }
    }

    fn row(&self, row: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        std::array::from_fn(|k| {
            let (chunk, byte) = byte_at(row, k);
            f32::from(self.q[chunk][byte]) * d
        })
    }

    #[inline(always)]
    fn unpack<S: Simd>(&self, s: S) -> S::F32 {
        s.load_f16(&self.d)
    }

    #[inline(always)]
    fn dot<S: Simd>(&self, s: S, d: S::F32, x: &[i8; BLOCK], _sum: f32) -> S::F32 {
        s.mul(d, s.dot_bytes(&self.q, x))
    }

    #[inline(always)]
    fn column<S: Simd>(&self, s: S, k: usize) -> S::F32 {
        s.mul(s.load_f16(&self.d), s.byte_column(&self.q, k))
    }
}
