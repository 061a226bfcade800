//! Integers of 4 bits.

use super::integers::{Integers, four_bits, four_bits_of_part};
use super::packed::Columns;
use crate::simd::{BLOCK, PackedNibbles, Panels, nibble_at};

fn set(packed: &mut PackedNibbles, row: usize, k: usize, q: u8) {
    let (chunk, byte, shift) = nibble_at(row, k);
    packed[chunk][byte] = packed[chunk][byte] & !(15 << shift) | q << shift;
}

impl Integers for PackedNibbles {
    type Activation = i8;
    const FILE_BYTES: usize = 16;

    fn set_row(&mut self, row: usize, file: &[u8]) {
        for k in 0..BLOCK {
            set(self, row, k, four_bits(file, k));
        }
    }

    fn set_part(&mut self, row: usize, file: &[u8], part: usize) {
        for k in 0..BLOCK {
            set(self, row, k, four_bits_of_part(file, part, k));
        }
    }

    fn row(&self, row: usize) -> [f32; BLOCK] {
        std::array::from_fn(|k| {
            let (chunk, byte, shift) = nibble_at(row, k);
            f32::from(self[chunk][byte] >> shift & 15)
        })
    }

    #[inline(always)]
    fn add_products<'a, S: Panels<P>, const P: usize, const N: usize>(
        s: S,
        q: impl Fn(usize) -> &'a Self,
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
    fn column<'a, S: Panels<P>, const P: usize>(s: S, q: impl Fn(usize) -> &'a Self, k: usize) -> S::F32 {
        s.nibble_column(q, k)
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
