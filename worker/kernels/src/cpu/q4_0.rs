//! Weights of 4 bits with a scale alone: GGUF's Q4_0 (`d * (q - 8)`) in blocks of 32.

use super::integers::Integers;
use super::packed::{Columns, PackedBlock, half_at, half_to_f32};
use crate::simd::{BLOCK, LANES, PackedNibbles, Panels};

/// Eight rows of a Q4_0 block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q4_0 {
    d: [u16; LANES],
    q: PackedNibbles,
}

impl Q4_0 {
    /// The scale, and what eight times it takes away.
    #[inline(always)]
    fn scales<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S) -> [S::F32; 2] {
        let d = s.load_f16(|panel| &blocks[panel].d);
        [d, s.mul(d, s.splat(-8.0))]
    }
}

impl PackedBlock for Q4_0 {
    type Activation = i8;
    const PARTS: usize = 1;
    const FILE_BYTES: usize = 2 + PackedNibbles::FILE_BYTES;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        self.q.set_row(row, &file[2..]);
    }

    fn row(&self, row: usize, _: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        self.q.row(row).map(|q| (q - 8.0) * d)
    }

    #[inline(always)]
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        s: S,
        _: usize,
        x: Columns<'_, i8, N>,
        totals: &mut [S::F32; N],
    ) {
        PackedNibbles::add_products(s, |panel| &blocks[panel].q, Self::scales(blocks, s), x, totals);
    }

    #[inline(always)]
    fn column<S: Panels<P>, const P: usize>(blocks: [&Self; P], s: S, _: usize, k: usize) -> S::F32 {
        let [d, m] = Self::scales(blocks, s);
        s.fma(d, PackedNibbles::column(s, |panel| &blocks[panel].q, k), m)
    }
}
