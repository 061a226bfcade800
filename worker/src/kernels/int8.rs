//! Exact dot products of eight weight rows with one row of 8-bit activations over a block of 32, the inner step of every
//! quantised matrix product. Integer sums are exact, so any order of summing gives the same result.

use super::simd::{LANES, Plain};

/// Numbers that share a scale, in weights and in activations.
pub(crate) const BLOCK: usize = 32;

/// Weights of 4 bits, eight rows of a block interleaved: byte `4 r + t` of `self[j]` holds, of row `r`, element `8 j + t` in its
/// low half and `8 j + 4 + t` in its high half, so that each 32-bit lane belongs to one row.
pub(crate) type PackedNibbles = [[u8; 32]; 4];

/// Weights of 8 bits, eight rows of a block interleaved: byte `4 r + t` of `self[j]` is element `4 j + t` of row `r`.
pub(crate) type PackedBytes = [[i8; 32]; 8];

/// Where element `k` of row `r` stands in [`PackedNibbles`]: `self[chunk][byte] >> shift`.
pub(crate) fn nibble_at(row: usize, k: usize) -> (usize, usize, u32) {
    (k / 8, 4 * row + k % 4, if k % 8 < 4 { 0 } else { 4 })
}

/// Where element `k` of row `r` stands in [`PackedBytes`].
pub(crate) fn byte_at(row: usize, k: usize) -> (usize, usize) {
    (k / 4, 4 * row + k % 4)
}

/// Eight dot products over a block at once.
pub(crate) trait Int8: Copy {
    /// Eight lanes of `f32`, one a weight row.
    type Sums;
    /// Unpacked weights of 4 bits.
    type Nibbles: Copy;

    fn nibbles(self, weights: &PackedNibbles) -> Self::Nibbles;
    /// Sum over the block of weight (0..=15) times activation (-127..=127).
    fn dot_nibbles(self, weights: Self::Nibbles, x: &[i8; BLOCK]) -> Self::Sums;
    /// Sum over the block of weight (-128..=127) times activation (-127..=127).
    fn dot_bytes(self, weights: &PackedBytes, x: &[i8; BLOCK]) -> Self::Sums;
    /// Element `k` (0..32) of each row.
    fn nibble_column(self, weights: &PackedNibbles, k: usize) -> Self::Sums;
    /// Element `k` (0..32) of each row.
    fn byte_column(self, weights: &PackedBytes, k: usize) -> Self::Sums;
}

impl Int8 for Plain {
    type Sums = [f32; LANES];
    type Nibbles = [[i8; BLOCK]; LANES];

    fn nibbles(self, weights: &PackedNibbles) -> Self::Nibbles {
        std::array::from_fn(|row| {
            std::array::from_fn(|k| {
                let (chunk, byte, shift) = nibble_at(row, k);
                (weights[chunk][byte] >> shift & 15) as i8
            })
        })
    }

    fn dot_nibbles(self, weights: Self::Nibbles, x: &[i8; BLOCK]) -> Self::Sums {
        weights.map(|row| row.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum::<i32>() as f32)
    }

    fn dot_bytes(self, weights: &PackedBytes, x: &[i8; BLOCK]) -> Self::Sums {
        std::array::from_fn(|row| {
            let product = |k| {
                let (chunk, byte) = byte_at(row, k);
                i32::from(weights[chunk][byte]) * i32::from(x[k])
            };
            (0..BLOCK).map(product).sum::<i32>() as f32
        })
    }

    fn nibble_column(self, weights: &PackedNibbles, k: usize) -> Self::Sums {
        std::array::from_fn(|row| {
            let (chunk, byte, shift) = nibble_at(row, k);
            f32::from(weights[chunk][byte] >> shift & 15)
        })
    }

    fn byte_column(self, weights: &PackedBytes, k: usize) -> Self::Sums {
        std::array::from_fn(|row| {
            let (chunk, byte) = byte_at(row, k);
            f32::from(weights[chunk][byte])
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::simd::avx2::Avx2;
    use super::{BLOCK, Int8, PackedBytes, PackedNibbles, byte_at, nibble_at};
    use std::arch::x86_64::*;

    /// Four activations in each 32-bit lane.
    #[expect(unsafe_code, reason = "vector intrinsics")]
    #[inline(always)]
    fn broadcast(_proof: Avx2, x: &[i8; BLOCK], quarter: usize) -> __m256i {
        let at = 4 * quarter;
        let four = i32::from_le_bytes([x[at] as u8, x[at + 1] as u8, x[at + 2] as u8, x[at + 3] as u8]);
        // SAFETY: `_proof` proves AVX2; so in every block below, where it is `self`.
        unsafe { _mm256_set1_epi32(four) }
    }

    #[expect(unsafe_code, reason = "vector intrinsics")]
    impl Int8 for Avx2 {
        type Sums = __m256;
        type Nibbles = [__m256i; 8];

        #[inline(always)]
        fn nibbles(self, weights: &PackedNibbles) -> Self::Nibbles {
            // SAFETY: AVX2 is there; each array holds the 32 bytes that are read, unaligned.
            unsafe {
                let low = _mm256_set1_epi8(15);
                let mut out = [_mm256_setzero_si256(); 8];
                for chunk in 0..4 {
                    let bytes = _mm256_loadu_si256(weights[chunk].as_ptr().cast());
                    out[2 * chunk] = _mm256_and_si256(bytes, low);
                    out[2 * chunk + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
                }
                out
            }
        }

        /// A 16-bit lane gathers 16 products of at most 15 * 127, 30,480 in all, so 16 bits hold every sum.
        #[inline(always)]
        fn dot_nibbles(self, weights: Self::Nibbles, x: &[i8; BLOCK]) -> Self::Sums {
            // SAFETY: AVX2 is there.
            unsafe {
                let mut sums = _mm256_setzero_si256();
                for (quarter, &w) in weights.iter().enumerate() {
                    sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, broadcast(self, x, quarter)));
                }
                _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)))
            }
        }

        /// `maddubs` wants one unsigned factor: |w| times x with the sign of w. Two products are at most 2 * 128 * 127 = 32,512.
        #[inline(always)]
        fn dot_bytes(self, weights: &PackedBytes, x: &[i8; BLOCK]) -> Self::Sums {
            // SAFETY: AVX2 is there; each array holds the 32 bytes that are read, unaligned.
            unsafe {
                let ones = _mm256_set1_epi16(1);
                let mut sums = _mm256_setzero_si256();
                for (quarter, w) in weights.iter().enumerate() {
                    let w = _mm256_loadu_si256(w.as_ptr().cast());
                    let x = _mm256_sign_epi8(broadcast(self, x, quarter), w);
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), x);
                    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
                }
                _mm256_cvtepi32_ps(sums)
            }
        }

        #[inline(always)]
        fn nibble_column(self, weights: &PackedNibbles, k: usize) -> Self::Sums {
            let (chunk, byte, shift) = nibble_at(0, k);
            // SAFETY: AVX2 is there; the array holds the 32 bytes that are read, unaligned.
            unsafe {
                let bytes = _mm256_loadu_si256(weights[chunk].as_ptr().cast());
                let shifted = _mm256_srl_epi32(bytes, _mm_cvtsi32_si128(8 * byte as i32 + shift as i32));
                _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(15)))
            }
        }

        #[inline(always)]
        fn byte_column(self, weights: &PackedBytes, k: usize) -> Self::Sums {
            let (chunk, byte) = byte_at(0, k);
            // SAFETY: AVX2 is there; the array holds the 32 bytes that are read, unaligned.
            unsafe {
                let bytes = _mm256_loadu_si256(weights[chunk].as_ptr().cast());
                let shifted = _mm256_sll_epi32(bytes, _mm_cvtsi32_si128(24 - 8 * byte as i32));
                _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(shifted))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Kernel, Simd, dispatch};
    use super::*;
    use proptest::prelude::*;

    struct Dots<'a>(&'a PackedNibbles, &'a PackedBytes, &'a [i8; BLOCK]);
    impl Kernel for Dots<'_> {
        type Output = [[f32; LANES]; 2];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let nibbles = s.dot_nibbles(s.nibbles(self.0), self.2);
            [s.lanes(nibbles), s.lanes(s.dot_bytes(self.1, self.2))]
        }
    }

    struct Columns<'a>(&'a PackedNibbles, &'a PackedBytes, usize);
    impl Kernel for Columns<'_> {
        type Output = [[f32; LANES]; 2];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            [s.lanes(s.nibble_column(self.0, self.2)), s.lanes(s.byte_column(self.1, self.2))]
        }
    }

    proptest! {
        #[test]
        fn vector_sums_and_columns_are_exact(
            nibbles in prop::array::uniform4(prop::array::uniform32(any::<u8>())),
            bytes in prop::array::uniform8(prop::array::uniform32(any::<i8>())),
            x in prop::array::uniform32(-127i8..=127),
        ) {
            prop_assert_eq!(dispatch(Dots(&nibbles, &bytes, &x)), Dots(&nibbles, &bytes, &x).run(Plain));
            for k in 0..BLOCK {
                prop_assert_eq!(dispatch(Columns(&nibbles, &bytes, k)), Columns(&nibbles, &bytes, k).run(Plain));
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for (byte, x) in [(127, 127), (127, -127), (-128, 127), (-128, -127)] {
            let [nibbles, bytes] = dispatch(Dots(&[[255; 32]; 4], &[[byte; 32]; 8], &[x; BLOCK]));
            assert_eq!(nibbles, [32.0 * 15.0 * f32::from(x); LANES]);
            assert_eq!(bytes, [32.0 * f32::from(byte) * f32::from(x); LANES]);
        }
    }
}
