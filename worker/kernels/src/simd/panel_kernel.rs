//! [`PanelKernel`]: code over panels on any instruction set, and the choice of the best one.

#[cfg(target_arch = "x86_64")]
use super::instruction_set::Avx512;
#[cfg(test)]
use super::instruction_set::Plain;
use super::kernel::{Kernel, dispatch};
use super::panels::Panels;
use super::vector::Simd;

/// A kernel over panels; as [`Kernel`].
pub(crate) trait PanelKernel {
    type Output;
    /// Implementations are `#[inline(always)]`.
    fn run<S: Panels<P>, const P: usize>(self, simd: S) -> Self::Output;
}

/// Which instructions are used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// The best that this processor has.
    Best,
    /// The best that takes one panel at a time.
    #[cfg(test)]
    OnePanel,
    /// Plain Rust, to compare with.
    #[cfg(test)]
    Plain,
}

impl Path {
    /// Runs a kernel.
    pub(crate) fn run<K: PanelKernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(test)]
            Self::OnePanel => dispatch(OnePanel(kernel)),
            #[cfg(test)]
            Self::Plain => kernel.run(Plain),
            Self::Best => {
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = Avx512::detect() {
                    return run_on_avx512(simd, kernel);
                }
                dispatch(OnePanel(kernel))
            }
        }
    }
}

/// Runs over one panel at a time, as every instruction set for vectors of eight lanes does.
struct OnePanel<K>(K);

impl<K: PanelKernel> Kernel for OnePanel<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> K::Output {
        self.0.run::<S, 1>(simd)
    }
}

#[cfg(target_arch = "x86_64")]
fn run_on_avx512<K: PanelKernel>(simd: Avx512, kernel: K) -> K::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn compiled_for_avx512<K: PanelKernel>(simd: Avx512, kernel: K) -> K::Output {
        kernel.run::<Avx512, 2>(simd)
    }
    // SAFETY: `simd` exists, so `detect` found every feature that the function is compiled for.
    #[expect(unsafe_code, reason = "calls a function compiled for a detected instruction set")]
    unsafe {
        compiled_for_avx512(simd, kernel)
    }
}
