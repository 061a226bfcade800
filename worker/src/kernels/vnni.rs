//! AVX-512's instructions that multiply integers and add them up in one, on vectors of 256 bits; all else is AVX2's. Sums are
//! exact, so results have the same bits.

use super::int8::{BLOCK, Int8, PackedNibbles};
use super::int16::Int16;
use super::simd::avx2::{Avx2, in_order};
use super::simd::{Kernel, LANES, Simd};
use std::arch::x86_64::*;

/// Made only by [`Vnni::detect`].
#[derive(Clone, Copy)]
pub(crate) struct Vnni(Avx2);

impl Vnni {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        Avx2::detect().filter(|_| found).map(Self)
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c,avx512vnni,avx512vl")]
        fn compiled_for_vnni<K: Kernel>(simd: Vnni, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists, so `detect` found every feature that the function is compiled for.
        #[expect(unsafe_code, reason = "calls a function compiled for a detected instruction set")]
        unsafe {
            compiled_for_vnni(self, kernel)
        }
    }
}

/// Methods that are those of AVX2.
macro_rules! as_avx2 {
    ($(fn $name:ident$(<$generic:ident>)?($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(#[inline(always)]
        fn $name$(<$generic>)?(self, $($argument: $type),*) $(-> $result)? {
            self.0.$name($($argument),*)
        })*
    };
}

impl Simd for Vnni {
    type F32 = __m256;
    as_avx2! {
        fn splat(x: f32) -> __m256;
        fn load(x: &[f32; LANES]) -> __m256;
        fn load_f16(x: &[u16; LANES]) -> __m256;
        fn load_u8(x: &[u8; LANES]) -> __m256;
        fn store(v: __m256, out: &mut [f32; LANES]);
        fn add(a: __m256, b: __m256) -> __m256;
        fn sub(a: __m256, b: __m256) -> __m256;
        fn mul(a: __m256, b: __m256) -> __m256;
        fn div(a: __m256, b: __m256) -> __m256;
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256;
        fn max(a: __m256, b: __m256) -> __m256;
        fn min(a: __m256, b: __m256) -> __m256;
        fn round(a: __m256) -> __m256;
        fn pow2(n: __m256) -> __m256;
        fn prefetch<T>(value: &T);
    }
}

#[expect(unsafe_code, reason = "vector intrinsics")]
impl Int8 for Vnni {
    type Lanes = __m256;
    type Bytes = __m256i;
    /// One 32-bit sum a row.
    type ByteSums = __m256i;
    as_avx2! {
        fn nibbles(weights: &[u8; 32]) -> [__m256i; 2];
        fn no_byte_sums() -> __m256i;
        fn nibble_column(weights: &PackedNibbles, k: usize) -> __m256;
        fn pack_bytes(x: [__m256; 4]) -> [i8; BLOCK];
    }

    #[inline(always)]
    fn add_byte_products(self, sums: __m256i, weights: __m256i, x: &[i8; 4]) -> __m256i {
        let four = i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]);
        // SAFETY: `self` proves AVX-512 VNNI and VL; so below.
        unsafe { in_order(_mm256_dpbusd_epi32(sums, weights, _mm256_set1_epi32(four))) }
    }

    #[inline(always)]
    fn byte_sums(self, sums: __m256i) -> __m256 {
        // SAFETY: AVX2 is there.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }
}

#[expect(unsafe_code, reason = "vector intrinsics")]
impl Int16 for Vnni {
    type Vector = __m256;
    type Words = __m256i;
    type WordSums = __m256i;
    as_avx2! {
        fn words(bytes: &[i8; 16]) -> __m256i;
        fn scale_words(words: __m256i, scales: &[i8; LANES]) -> __m256i;
        fn no_word_sums() -> __m256i;
        fn word_sums(sums: __m256i) -> __m256;
        fn pack_words(x: [__m256; 4]) -> [i16; BLOCK];
    }

    #[inline(always)]
    fn add_word_products(self, sums: __m256i, weights: __m256i, x: &[i16; 2]) -> __m256i {
        let two = i32::from(x[1]) << 16 | i32::from(x[0] as u16);
        // SAFETY: AVX-512 VNNI and VL are there.
        unsafe { in_order(_mm256_dpwssd_epi32(sums, weights, _mm256_set1_epi32(two))) }
    }
}
