//! Weights of 5 to 8 bits, kept in 8: GGUF's Q8_0 (`d * q`) and Q5_0 (`d * (q - 16)`) in blocks of 32, and Q6_K
//! (`d * s * (q - 32)`) in blocks of 256, whose runs of 16 have 8-bit scales `s`.

use super::bytes::{NO_SCALES, RUN_WEIGHTS, add_products, bytes_of, five_bits, set_byte};
use super::packed::{Columns, PackedBlock, half_at, half_to_f32};
use crate::simd::{BLOCK, LANES, PackedBytes, Panels};

/// Eight rows of a Q8_0 block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q8_0 {
    d: [u16; LANES],
    q: PackedBytes,
}

impl PackedBlock for Q8_0 {
    type Activation = i16;
    const PARTS: usize = 1;
    const FILE_BYTES: usize = 34;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 0);
        for (k, &q) in file[2..].iter().enumerate() {
            set_byte(&mut self.q, row, k, q as i8);
        }
    }

    fn row(&self, row: usize, _: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        bytes_of(&self.q, row).map(|q| q * d)
    }

    #[inline(always)]
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        s: S,
        _: usize,
        x: Columns<'_, i16, N>,
        totals: &mut [S::F32; N],
    ) {
        let d = s.load_f16(|panel| &blocks[panel].d);
        add_products(s, |panel| &blocks[panel].q, NO_SCALES, d, x, totals);
    }
}

/// The Q8_0 blocks that stand for the same weights as Q5_0 blocks (a half `d`, 32 fifth bits, 32 nibbles).
pub(crate) fn q8_0_from_q5_0(file: &[u8]) -> Vec<u8> {
    let block = |block: &[u8; 22]| -> [u8; Q8_0::FILE_BYTES] {
        std::array::from_fn(|at| match at {
            0..2 => block[at],
            _ => five_bits(&block[2..], at - 2).wrapping_sub(16),
        })
    };
    file.as_chunks().0.iter().flat_map(block).collect()
}

/// Eight rows of a Q6_K block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Q6K {
    d: [u16; LANES],
    scales: [[[i8; LANES]; 2]; 8],
    q: [PackedBytes; 8],
}

impl PackedBlock for Q6K {
    type Activation = i16;
    const PARTS: usize = 8;
    const FILE_BYTES: usize = 210;

    /// A file has 256 times four bits, 256 times two bits, 16 scales and `d`. In either half of the weights, parts `j` and
    /// `j + 2` are the halves of the same bytes of four bits, and part `j` has bits `2 j` and `2 j + 1` of the others.
    fn set_row(&mut self, row: usize, file: &[u8]) {
        self.d[row] = half_at(file, 208);
        for part in 0..Self::PARTS {
            let (half, j) = (part / 4, part % 4);
            let low = &file[64 * half + BLOCK * (j % 2)..][..BLOCK];
            let high = &file[128 + BLOCK * half..][..BLOCK];
            for k in 0..BLOCK {
                let q = low[k] >> (4 * (j / 2)) & 15 | (high[k] >> (2 * j) & 3) << 4;
                set_byte(&mut self.q[part], row, k, q as i8 - 32);
            }
            for run in 0..2 {
                self.scales[part][run][row] = file[192 + 2 * part + run] as i8;
            }
        }
    }

    fn row(&self, row: usize, part: usize) -> [f32; BLOCK] {
        let d = half_to_f32(self.d[row]);
        let q = bytes_of(&self.q[part], row);
        std::array::from_fn(|k| q[k] * (d * f32::from(self.scales[part][k / RUN_WEIGHTS][row])))
    }

    #[inline(always)]
    fn add_products<S: Panels<P>, const P: usize, const N: usize>(
        blocks: [&Self; P],
        s: S,
        part: usize,
        x: Columns<'_, i16, N>,
        totals: &mut [S::F32; N],
    ) {
        let d = s.load_f16(|panel| &blocks[panel].d);
        add_products(
            s,
            |panel| &blocks[panel].q[part],
            Some(&|panel: usize| &blocks[panel].scales[part]),
            d,
            x,
            totals,
        );
    }
}
