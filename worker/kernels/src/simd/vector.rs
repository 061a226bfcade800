//! [`Simd`]: eight `f32` lanes with one definition of every operation, so that a kernel is written once and run two ways: on AVX2,
//! or as plain Rust anywhere. Both round alike (fused multiply-add, ties to even), so they give the same bits.

use super::instruction_set::{LANES, Plain};
use super::int8::Int8;
use super::int16::Int16;
use half::f16;

/// An instruction set. A value is a proof that the processor has it.
pub(crate) trait Simd: Int8<Lanes = Self::F32> + Int16<Vector = Self::F32> + Copy {
    /// Eight lanes.
    type F32: Copy;
    fn splat(self, x: f32) -> Self::F32;
    fn load(self, x: &[f32; LANES]) -> Self::F32;
    /// Widens IEEE half precision bits.
    fn load_f16(self, x: &[u16; LANES]) -> Self::F32;
    fn load_u8(self, x: &[u8; LANES]) -> Self::F32;
    fn store(self, v: Self::F32, out: &mut [f32; LANES]);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `a` where `a > b`, else `b`: a NaN in either gives `b`.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a` where `a < b`, else `b`: a NaN in either gives `b`.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// 2^n for integral `n` in -127..=127, where -127 gives zero.
    fn pow2(self, n: Self::F32) -> Self::F32;
    /// Asks for a value's memory to be near when it will be read.
    fn prefetch<T>(self, value: &T);

    #[inline(always)]
    fn lanes(self, v: Self::F32) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(v, &mut out);
        out
    }

    /// Sum of the lanes, in a fixed pairwise order.
    #[inline(always)]
    fn sum(self, v: Self::F32) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.lanes(v);
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    /// Largest lane.
    #[inline(always)]
    fn largest(self, v: Self::F32) -> f32 {
        self.lanes(v).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// e^x to 2 ulp; zero below about -87.7, finite above 88, NaN for NaN.
    ///
    /// Range reduction by ln 2 in two parts and a polynomial of degree 6, coefficients from Cephes `expf`.
    #[inline(always)]
    fn exp(self, x: Self::F32) -> Self::F32 {
        let x = self.max(self.splat(-88.0), x);
        let x = self.min(self.splat(88.0), x);
        let n = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-0.693_359_4), x);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_1e-4);
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.fma(p, r, self.splat(c));
        }
        let p = self.fma(p, self.mul(r, r), self.add(r, self.splat(1.0)));
        self.mul(p, self.pow2(n))
    }
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Plain {
    type F32 = [f32; LANES];
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F32 {
        *x
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F32 {
        x.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn load_u8(self, x: &[u8; LANES]) -> Self::F32 {
        x.map(f32::from)
    }
    #[inline(always)]
    fn store(self, v: Self::F32, out: &mut [f32; LANES]) {
        *out = v;
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn prefetch<T>(self, _: &T) {}
    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::F32 {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn pow2(self, n: Self::F32) -> Self::F32 {
        n.map(|n| f32::from_bits((n as i32).wrapping_add(127).wrapping_shl(23) as u32))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::instruction_set::{Avx2, LANES, prefetch};
    use super::Simd;
    use std::arch::x86_64::*;

    #[expect(unsafe_code, reason = "vector intrinsics")]
    impl Simd for Avx2 {
        type F32 = __m256;
        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            // SAFETY: `self` proves AVX2, FMA and F16C; so in every method below.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        fn load(self, x: &[f32; LANES]) -> __m256 {
            // SAFETY: the array holds the 32 bytes that are read, unaligned.
            unsafe { _mm256_loadu_ps(x.as_ptr()) }
        }
        #[inline(always)]
        fn load_f16(self, x: &[u16; LANES]) -> __m256 {
            // SAFETY: the array holds the 16 bytes that are read, unaligned.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())) }
        }
        #[inline(always)]
        fn load_u8(self, x: &[u8; LANES]) -> __m256 {
            // SAFETY: the array holds the 8 bytes that are read, unaligned.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(x.as_ptr().cast()))) }
        }
        #[inline(always)]
        fn store(self, v: __m256, out: &mut [f32; LANES]) {
            // SAFETY: the array holds the 32 bytes that are written, unaligned.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn div(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn max(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        fn min(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        fn prefetch<T>(self, value: &T) {
            prefetch(value);
        }
        #[inline(always)]
        fn round(self, a: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        fn pow2(self, n: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{Kernel, dispatch};
    use super::*;
    use proptest::prelude::*;

    struct Everything<'a>(&'a [f32; LANES], &'a [f32; LANES]);
    impl Kernel for Everything<'_> {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            let (a, b) = (s.load(self.0), s.load(self.1));
            let halves = self.0.map(|x| f16::from_f32(x).to_bits());
            let all = [
                s.add(a, b),
                s.sub(a, b),
                s.mul(a, b),
                s.div(a, b),
                s.fma(a, b, a),
                s.max(a, b),
                s.min(a, b),
                s.round(a),
                s.exp(a),
                s.load_f16(&halves),
                s.splat(s.sum(a)),
                s.splat(s.largest(a)),
            ];
            all.into_iter().flat_map(|v| s.lanes(v)).map(f32::to_bits).collect()
        }
    }

    proptest! {
        #[test]
        fn the_vector_path_gives_the_bits_of_the_plain_path(
            a in prop::array::uniform8(-200f32..200.0), b in prop::array::uniform8(-1e3f32..1e3),
        ) {
            prop_assert_eq!(dispatch(Everything(&a, &b)), Everything(&a, &b).run(Plain));
        }

        #[test]
        fn exp_is_within_two_ulp(x in -87f32..88.0) {
            let want = f64::from(x).exp();
            let got = f64::from(Plain.exp([x; LANES])[0]);
            prop_assert!((got / want - 1.0).abs() < 2.4e-7, "exp({}) = {}", x, got);
        }
    }

    #[test]
    fn exp_of_minus_infinity_is_zero_and_of_nan_is_nan() {
        assert_eq!(Plain.exp([f32::NEG_INFINITY; LANES])[0], 0.0);
        assert!(Plain.exp([f32::NAN; LANES])[0].is_nan());
    }
}
