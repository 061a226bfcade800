//! Exact sums of 16-bit weights times 16-bit activations, for eight weight rows at once: for weights of 5 to 8 bits. On AVX2
//! these take no more instructions than products of signed bytes would, and activations lose almost nothing.

use super::instruction_set::{BLOCK, LANES, Plain};

/// Weights of 8 bits, eight rows of a block interleaved: byte `2 r + t` of `self[j]` is element `2 j + t` of row `r`.
pub(crate) type PackedBytes = [[i8; 16]; 16];

/// Where element `k` of row `r` stands in [`PackedBytes`].
pub(crate) fn byte_at(row: usize, k: usize) -> (usize, usize) {
    (k / 2, 2 * row + k % 2)
}

/// Products of 16-bit words, summed in 32 bits.
pub(crate) trait Int16: Copy {
    /// Eight lanes of `f32`, one a weight row.
    type Vector;
    /// Two numbers of each of eight rows.
    type Words: Copy;
    /// One sum a row.
    type WordSums: Copy;

    fn words(self, bytes: &[i8; 16]) -> Self::Words;
    /// Each number times its row's scale; the product fits 16 bits.
    fn scale_words(self, words: Self::Words, scales: &[i8; LANES]) -> Self::Words;
    fn no_word_sums(self) -> Self::WordSums;
    /// Adds two products a row.
    fn add_word_products(self, sums: Self::WordSums, weights: Self::Words, x: &[i16; 2]) -> Self::WordSums;
    fn word_sums(self, sums: Self::WordSums) -> Self::Vector;
    /// Integral numbers that fit 16 bits.
    fn pack_words(self, x: [Self::Vector; 4]) -> [i16; BLOCK];
}

impl Int16 for Plain {
    type Vector = [f32; LANES];
    type Words = [[i16; 2]; LANES];
    type WordSums = [i32; LANES];

    #[inline(always)]
    fn words(self, bytes: &[i8; 16]) -> Self::Words {
        let rows = bytes.as_chunks::<2>().0;
        std::array::from_fn(|row| rows[row].map(i16::from))
    }

    #[inline(always)]
    fn scale_words(self, words: Self::Words, scales: &[i8; LANES]) -> Self::Words {
        std::array::from_fn(|row| words[row].map(|word| word.wrapping_mul(i16::from(scales[row]))))
    }

    #[inline(always)]
    fn no_word_sums(self) -> Self::WordSums {
        [0; LANES]
    }

    #[inline(always)]
    fn add_word_products(self, sums: Self::WordSums, weights: Self::Words, x: &[i16; 2]) -> Self::WordSums {
        let [x0, x1] = x.map(i32::from);
        std::array::from_fn(|row| {
            let [w0, w1] = weights[row].map(i32::from);
            sums[row] + w0 * x0 + w1 * x1
        })
    }

    #[inline(always)]
    fn word_sums(self, sums: Self::WordSums) -> Self::Vector {
        sums.map(|sum| sum as f32)
    }

    fn pack_words(self, x: [Self::Vector; 4]) -> [i16; BLOCK] {
        std::array::from_fn(|k| x[k / LANES][k % LANES] as i16)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::instruction_set::{Avx2, in_order};
    use super::{BLOCK, Int16, LANES};
    use std::arch::x86_64::*;

    #[expect(unsafe_code, reason = "vector intrinsics")]
    impl Int16 for Avx2 {
        type Vector = __m256;
        type Words = __m256i;
        type WordSums = __m256i;

        #[inline(always)]
        fn words(self, bytes: &[i8; 16]) -> __m256i {
            // SAFETY: `self` proves AVX2, here and below; the array holds the 16 bytes that are read, unaligned.
            unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn scale_words(self, words: __m256i, scales: &[i8; LANES]) -> __m256i {
            // SAFETY: AVX2 is there; the array holds the 8 bytes that are read, unaligned.
            unsafe {
                let scales = _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.as_ptr().cast()));
                // The low word of each lane in both its words.
                let low = _mm256_and_si256(scales, _mm256_set1_epi32(0xffff));
                _mm256_mullo_epi16(words, _mm256_or_si256(low, _mm256_slli_epi32::<16>(scales)))
            }
        }

        #[inline(always)]
        fn no_word_sums(self) -> __m256i {
            // SAFETY: AVX2 is there.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn add_word_products(self, sums: __m256i, weights: __m256i, x: &[i16; 2]) -> __m256i {
            let two = i32::from(x[1]) << 16 | i32::from(x[0] as u16);
            // SAFETY: AVX2 is there.
            unsafe { in_order(_mm256_add_epi32(sums, _mm256_madd_epi16(weights, _mm256_set1_epi32(two)))) }
        }

        #[inline(always)]
        fn word_sums(self, sums: __m256i) -> __m256 {
            // SAFETY: AVX2 is there.
            unsafe { _mm256_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        fn pack_words(self, x: [__m256; 4]) -> [i16; BLOCK] {
            let mut out = [0; BLOCK];
            // SAFETY: AVX2 is there; each half of the array holds the 32 bytes that are written, unaligned.
            unsafe {
                for (out, x) in out.as_chunks_mut::<16>().0.iter_mut().zip(x.as_chunks::<2>().0) {
                    // Packing works within halves of a register: bring the groups of four back into order.
                    let words = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
                    _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(words));
                }
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

    struct Dots<'a>(&'a PackedBytes, &'a [i8; LANES], &'a [i16; BLOCK]);
    impl Kernel for Dots<'_> {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut sums = s.no_word_sums();
            for (bytes, x) in self.0.iter().zip(self.2.as_chunks::<2>().0) {
                sums = s.add_word_products(sums, s.scale_words(s.words(bytes), self.1), x);
            }
            s.lanes(s.word_sums(sums))
        }
    }

    struct Pack<'a>(&'a [f32; BLOCK]);
    impl Kernel for Pack<'_> {
        type Output = [i16; BLOCK];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = self.0.as_chunks::<LANES>().0;
            s.pack_words([s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])])
        }
    }

    proptest! {
        #[test]
        fn vector_sums_are_exact(
            bytes in prop::array::uniform16(prop::array::uniform16(-63i8..=63)),
            scales in prop::array::uniform8(any::<i8>()),
            x in prop::array::uniform32(-8191i16..=8191),
        ) {
            let weight = |row: usize, k| {
                let (chunk, byte) = byte_at(row, k);
                i32::from(bytes[chunk][byte]) * i32::from(scales[row])
            };
            let dot = |row| (0..BLOCK).map(|k| weight(row, k) * i32::from(x[k])).sum::<i32>() as f32;
            let want: [f32; LANES] = std::array::from_fn(dot);
            prop_assert_eq!(dispatch(Dots(&bytes, &scales, &x)), want);
            prop_assert_eq!(Dots(&bytes, &scales, &x).run(Plain), want);
            let numbers = x.map(f32::from);
            prop_assert_eq!(dispatch(Pack(&numbers)), x);
            prop_assert_eq!(Pack(&numbers).run(Plain), x);
        }
    }
}
