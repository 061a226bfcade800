//! AVX-512 with instructions that multiply integers and add them up in one, on vectors of 512 bits: two panels of weight rows, the
//! first in the lower half. Sums are exact, and what is rounded is rounded as elsewhere, so results have the same bits.

use super::instruction_set::{Avx512, LANES, prefetch};
use super::int8::{PackedNibbles, nibble_at};
use super::panels::Panels;
use std::arch::x86_64::*;

/// As [`in_order`](super::instruction_set::in_order).
#[expect(unsafe_code, reason = "an empty instruction on a vector register")]
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(mut v: __m512i) -> __m512i {
    // SAFETY: does nothing.
    unsafe { std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}

/// The 32 bytes of each panel.
#[expect(unsafe_code, reason = "vector intrinsics")]
#[inline]
#[target_feature(enable = "avx512f")]
fn load_32(lower: &[u8; 32], upper: &[u8; 32]) -> __m512i {
    // SAFETY: each array holds the 32 bytes that are read, unaligned.
    unsafe {
        let lower = _mm512_castsi256_si512(_mm256_loadu_si256(lower.as_ptr().cast()));
        _mm512_inserti64x4::<1>(lower, _mm256_loadu_si256(upper.as_ptr().cast()))
    }
}

/// The 16 bytes of each panel.
#[expect(unsafe_code, reason = "vector intrinsics")]
#[inline]
#[target_feature(enable = "avx512f")]
fn load_16<T>(lower: &T, upper: &T) -> __m256i {
    const { assert!(size_of::<T>() == 16) };
    // SAFETY: each value holds the 16 bytes that are read, unaligned.
    unsafe {
        let lower = _mm256_castsi128_si256(_mm_loadu_si128(std::ptr::from_ref(lower).cast()));
        _mm256_inserti128_si256::<1>(lower, _mm_loadu_si128(std::ptr::from_ref(upper).cast()))
    }
}

/// The 8 bytes of each panel.
#[expect(unsafe_code, reason = "vector intrinsics")]
#[inline]
#[target_feature(enable = "avx512f")]
fn load_8<T>(lower: &T, upper: &T) -> __m128i {
    const { assert!(size_of::<T>() == 8) };
    // SAFETY: each value holds the 8 bytes that are read, unaligned.
    unsafe {
        _mm_unpacklo_epi64(
            _mm_loadl_epi64(std::ptr::from_ref(lower).cast()),
            _mm_loadl_epi64(std::ptr::from_ref(upper).cast()),
        )
    }
}

#[expect(unsafe_code, reason = "vector intrinsics")]
impl Panels<2> for Avx512 {
    type F32 = __m512;
    type Bytes = __m512i;
    /// One 32-bit sum a row.
    type ByteSums = __m512i;
    type Words = __m512i;
    type WordSums = __m512i;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512 F, BW and VNNI; so in every method below.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, rows: impl Fn(usize) -> [f32; LANES]) -> __m512 {
        let rows = [rows(0), rows(1)];
        // SAFETY: the arrays hold the 64 bytes that are read, unaligned.
        unsafe { _mm512_loadu_ps(rows.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16<'a>(self, rows: impl Fn(usize) -> &'a [u16; LANES]) -> __m512 {
        let (lower, upper) = (rows(0), rows(1));
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtph_ps(load_16(lower, upper)) }
    }

    #[inline(always)]
    fn load_u8<'a>(self, rows: impl Fn(usize) -> &'a [u8; LANES]) -> __m512 {
        let (lower, upper) = (rows(0), rows(1));
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_8(lower, upper))) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn panel(self, v: __m512, panel: usize) -> [f32; LANES] {
        let mut rows = [[0.0; LANES]; 2];
        // SAFETY: the arrays hold the 64 bytes that are written, unaligned.
        unsafe { _mm512_storeu_ps(rows.as_mut_ptr().cast(), v) };
        rows[panel]
    }

    #[inline(always)]
    fn prefetch<T>(self, value: &T) {
        prefetch(value);
    }

    #[inline(always)]
    fn nibbles<'a>(self, weights: impl Fn(usize) -> &'a [u8; 32]) -> [__m512i; 2] {
        let (lower, upper) = (weights(0), weights(1));
        // SAFETY: see `splat`.
        unsafe {
            let (bytes, low) = (load_32(lower, upper), _mm512_set1_epi8(15));
            [_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low)]
        }
    }

    #[inline(always)]
    fn no_byte_sums(self) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn add_byte_products(self, sums: __m512i, weights: __m512i, x: &[i8; 4]) -> __m512i {
        let four = i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]);
        // SAFETY: see `splat`.
        unsafe { in_order(_mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(four))) }
    }

    #[inline(always)]
    fn byte_sums(self, sums: __m512i) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    fn nibble_column<'a>(self, weights: impl Fn(usize) -> &'a PackedNibbles, k: usize) -> __m512 {
        let (chunk, byte, shift) = nibble_at(0, k);
        let (lower, upper) = (&weights(0)[chunk], &weights(1)[chunk]);
        // SAFETY: see `splat`.
        unsafe {
            let shift = _mm_cvtsi32_si128(8 * byte as i32 + shift as i32);
            let shifted = _mm512_srl_epi32(load_32(lower, upper), shift);
            _mm512_cvtepi32_ps(_mm512_and_si512(shifted, _mm512_set1_epi32(15)))
        }
    }

    #[inline(always)]
    fn words<'a>(self, bytes: impl Fn(usize) -> &'a [i8; 16]) -> __m512i {
        let (lower, upper) = (bytes(0), bytes(1));
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtepi8_epi16(load_16(lower, upper)) }
    }

    #[inline(always)]
    fn scale_words<'a>(self, words: __m512i, scales: impl Fn(usize) -> &'a [i8; LANES]) -> __m512i {
        let (lower, upper) = (scales(0), scales(1));
        // SAFETY: see `splat`.
        unsafe {
            let scales = _mm512_cvtepi8_epi32(load_8(lower, upper));
            // The low word of each lane in both its words.
            let low = _mm512_and_si512(scales, _mm512_set1_epi32(0xffff));
            _mm512_mullo_epi16(words, _mm512_or_si512(low, _mm512_slli_epi32::<16>(scales)))
        }
    }

    #[inline(always)]
    fn no_word_sums(self) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn add_word_products(self, sums: __m512i, weights: __m512i, x: &[i16; 2]) -> __m512i {
        let two = i32::from(x[1]) << 16 | i32::from(x[0] as u16);
        // SAFETY: see `splat`.
        unsafe { in_order(_mm512_dpwssd_epi32(sums, weights, _mm512_set1_epi32(two))) }
    }

    #[inline(always)]
    fn word_sums(self, sums: __m512i) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
}
