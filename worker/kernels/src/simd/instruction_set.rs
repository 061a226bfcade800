//! The instruction sets, each a type of which a value proves that the processor has it, and the size of a vector.

/// Bytes that memory moves at a time.
pub(crate) const CACHE_LINE: usize = 64;

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// Numbers that share a scale, in weights and in activations.
pub(crate) const BLOCK: usize = 32;

/// Plain Rust: the portable path, and the twin that tests compare with.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx2, Avx512, in_order, prefetch};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::CACHE_LINE;
    use std::arch::x86_64::*;

    /// AVX2 with fused multiply-add and half precision conversion. Made only by [`Avx2::detect`].
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            let found =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            found.then_some(Self(()))
        }
    }

    /// AVX-512 with instructions that multiply integers and add them up in one. Made only by [`Avx512::detect`].
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        pub(crate) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni");
            found.then_some(Self(()))
        }
    }

    /// The value, of which the compiler knows nothing more. Sums of integers may be reordered, and LLVM does: it then holds more
    /// products at once than there are registers, which takes a third more time.
    #[expect(unsafe_code, reason = "an empty instruction on a vector register")]
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn in_order(mut v: __m256i) -> __m256i {
        // SAFETY: does nothing.
        unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags)) };
        v
    }

    /// Asks for a value's memory to be near when it will be read.
    #[inline(always)]
    pub(crate) fn prefetch<T>(value: &T) {
        let start = std::ptr::from_ref(value).cast::<i8>();
        let mut offset = 0;
        while offset < size_of::<T>() {
            // SAFETY: every x86-64 processor has the instruction, and it reads nothing.
            #[expect(unsafe_code, reason = "an intrinsic")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset));
            }
            offset += CACHE_LINE;
        }
    }
}
