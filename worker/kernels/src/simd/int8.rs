//! Exact sums of 4-bit weights times 8-bit activations, for eight weight rows at once: the inner step of most quantised matrix
//! products. Integer sums are exact, so any order of summing gives the same result.

use super::instruction_set::{BLOCK, LANES, Plain};

/// Weights of 4 bits, eight rows of a block interleaved: byte `4 r + t` of `self[j]` holds, of row `r`, element `8 j + t` in its
/// low half and `8 j + 4 + t` in its high half, so that each 32-bit lane belongs to one row.
pub(crate) type PackedNibbles = [[u8; 32]; 4];

/// Where element `k` of row `r` stands in [`PackedNibbles`]: `self[chunk][byte] >> shift`.
pub(crate) fn nibble_at(row: usize, k: usize) -> (usize, usize, u32) {
    (k / 8, 4 * row + k % 4, if k % 8 < 4 { 0 } else { 4 })
}

/// Products of bytes, summed in few bits.
pub(crate) trait Int8: Copy {
    /// Eight lanes of `f32`, one a weight row.
    type Lanes;
    /// Four weights (0..=15) of each of eight rows.
    type Bytes: Copy;
    /// Sums of products, one or a few a row.
    type ByteSums: Copy;

    /// The low and the high halves.
    fn nibbles(self, weights: &[u8; 32]) -> [Self::Bytes; 2];
    fn no_byte_sums(self) -> Self::ByteSums;
    /// Adds four products a row, of weights and activations (-127..=127). A sum has room for the 32 products of a block.
    fn add_byte_products(self, sums: Self::ByteSums, weights: Self::Bytes, x: &[i8; 4]) -> Self::ByteSums;
    fn byte_sums(self, sums: Self::ByteSums) -> Self::Lanes;
    /// Element `k` (0..32) of each row.
    fn nibble_column(self, weights: &PackedNibbles, k: usize) -> Self::Lanes;
    /// Integral numbers (-127..=127) as bytes.
    fn pack_bytes(self, x: [Self::Lanes; 4]) -> [i8; BLOCK];
}

impl Int8 for Plain {
    type Lanes = [f32; LANES];
    type Bytes = [[u8; 4]; LANES];
    type ByteSums = [i32; LANES];

    #[inline(always)]
    fn nibbles(self, weights: &[u8; 32]) -> [Self::Bytes; 2] {
        let rows = weights.as_chunks::<4>().0;
        [0, 4].map(|shift| std::array::from_fn(|row| rows[row].map(|byte| byte >> shift & 15)))
    }

    #[inline(always)]
    fn no_byte_sums(self) -> Self::ByteSums {
        [0; LANES]
    }

    #[inline(always)]
    fn add_byte_products(self, sums: Self::ByteSums, weights: Self::Bytes, x: &[i8; 4]) -> Self::ByteSums {
        let products = |row: usize| weights[row].iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum::<i32>();
        std::array::from_fn(|row| sums[row] + products(row))
    }

    #[inline(always)]
    fn byte_sums(self, sums: Self::ByteSums) -> Self::Lanes {
        sums.map(|sum| sum as f32)
    }

    fn nibble_column(self, weights: &PackedNibbles, k: usize) -> Self::Lanes {
        std::array::from_fn(|row| {
            let (chunk, byte, shift) = nibble_at(row, k);
            f32::from(weights[chunk][byte] >> shift & 15)
        })
    }

    fn pack_bytes(self, x: [Self::Lanes; 4]) -> [i8; BLOCK] {
        std::array::from_fn(|k| x[k / LANES][k % LANES] as i8)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::instruction_set::{Avx2, in_order};
    use super::{BLOCK, Int8, PackedNibbles, nibble_at};
    use std::arch::x86_64::*;

    #[expect(unsafe_code, reason = "vector intrinsics")]
    impl Int8 for Avx2 {
        type Lanes = __m256;
        type Bytes = __m256i;
        /// Two 16-bit sums a row: each gathers 16 products of at most 15 * 127, 30,480 in all.
        type ByteSums = __m256i;

        #[inline(always)]
        fn nibbles(self, weights: &[u8; 32]) -> [__m256i; 2] {
            // SAFETY: `self` proves AVX2, here and below; the array holds the 32 bytes that are read, unaligned.
            unsafe {
                let (bytes, low) = (_mm256_loadu_si256(weights.as_ptr().cast()), _mm256_set1_epi8(15));
                [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)]
            }
        }

        #[inline(always)]
        fn no_byte_sums(self) -> __m256i {
            // SAFETY: AVX2 is there.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn add_byte_products(self, sums: __m256i, weights: __m256i, x: &[i8; 4]) -> __m256i {
            let four = i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]);
            // SAFETY: AVX2 is there.
            unsafe { in_order(_mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, _mm256_set1_epi32(four)))) }
        }

        #[inline(always)]
        fn byte_sums(self, sums: __m256i) -> __m256 {
            // SAFETY: AVX2 is there.
            unsafe { _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1))) }
        }

        #[inline(always)]
        fn nibble_column(self, weights: &PackedNibbles, k: usize) -> __m256 {
            let (chunk, byte, shift) = nibble_at(0, k);
            // SAFETY: AVX2 is there; the array holds the 32 bytes that are read, unaligned.
            unsafe {
                let bytes = _mm256_loadu_si256(weights[chunk].as_ptr().cast());
                let shifted = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(8 * byte as i32 + shift as i32));
                _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(15)))
            }
        }

        #[inline(always)]
        fn pack_bytes(self, x: [__m256; 4]) -> [i8; BLOCK] {
            let mut out = [0; BLOCK];
            // SAFETY: AVX2 is there; the array holds the 32 bytes that are written, unaligned.
            unsafe {
                let words = |low, high| _mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
                // Packing works within halves of a register: bring the groups of four back into order.
                let bytes = _mm256_packs_epi16(words(x[0], x[1]), words(x[2], x[3]));
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(bytes, order));
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{Kernel, dispatch};
    use super::super::vector::Simd;
    use super::*;
    use proptest::prelude::*;

    struct Dots<'a>(&'a PackedNibbles, &'a [i8; BLOCK]);
    impl Kernel for Dots<'_> {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut sums = s.no_byte_sums();
            let quarters = self.1.as_chunks::<4>().0;
            for (chunk, x) in self.0.iter().zip(quarters.as_chunks::<2>().0) {
                let [low, high] = s.nibbles(chunk);
                sums = s.add_byte_products(s.add_byte_products(sums, low, &x[0]), high, &x[1]);
            }
            s.lanes(s.byte_sums(sums))
        }
    }

    struct Column<'a>(&'a PackedNibbles, usize);
    impl Kernel for Column<'_> {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            s.lanes(s.nibble_column(self.0, self.1))
        }
    }

    struct Pack<'a>(&'a [f32; BLOCK]);
    impl Kernel for Pack<'_> {
        type Output = [i8; BLOCK];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = self.0.as_chunks::<LANES>().0;
            s.pack_bytes([s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])])
        }
    }

    proptest! {
        #[test]
        fn vector_sums_and_columns_are_exact(
            nibbles in prop::array::uniform4(prop::array::uniform32(any::<u8>())),
            x in prop::array::uniform32(-127i8..=127),
        ) {
            let weight = |row, k| {
                let (chunk, byte, shift) = nibble_at(row, k);
                i32::from(nibbles[chunk][byte] >> shift & 15)
            };
            let dot = |row| (0..BLOCK).map(|k| weight(row, k) * i32::from(x[k])).sum::<i32>() as f32;
            let want: [f32; LANES] = std::array::from_fn(dot);
            prop_assert_eq!(dispatch(Dots(&nibbles, &x)), want);
            prop_assert_eq!(Dots(&nibbles, &x).run(Plain), want);
            for k in 0..BLOCK {
                prop_assert_eq!(dispatch(Column(&nibbles, k)), Column(&nibbles, k).run(Plain));
            }
            let numbers = x.map(f32::from);
            prop_assert_eq!(dispatch(Pack(&numbers)), x);
            prop_assert_eq!(Pack(&numbers).run(Plain), x);
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for x in [127, -127] {
            assert_eq!(dispatch(Dots(&[[255; 32]; 4], &[x; BLOCK])), [32.0 * 15.0 * f32::from(x); LANES]);
        }
    }
}
