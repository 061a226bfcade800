//! [`Kernel`]: code over the vectors of any instruction set, and the choice of the best one.

#[cfg(target_arch = "x86_64")]
use super::instruction_set::Avx2;
use super::instruction_set::Plain;
use super::vector::Simd;

/// A kernel: its operands, and what to compute with them on any instruction set.
///
/// Only functions inlined into [`dispatch`] are compiled for the instruction set; closures and iterator adapters need not be, so
/// vectors and hot loops stay out of them.
pub(crate) trait Kernel {
    type Output;
    /// Implementations are `#[inline(always)]`, so that the body is compiled for the instruction set of [`dispatch`].
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a kernel on the best instruction set that this processor has.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = Avx2::detect() {
        return run_on_avx2(simd, kernel);
    }
    kernel.run(Plain)
}

#[cfg(target_arch = "x86_64")]
fn run_on_avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn compiled_for_avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
        kernel.run(simd)
    }
    // SAFETY: `simd` exists, so `detect` found every feature that the function is compiled for.
    #[expect(unsafe_code, reason = "calls a function compiled for a detected instruction set")]
    unsafe {
        compiled_for_avx2(simd, kernel)
    }
}
