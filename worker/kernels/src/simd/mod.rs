//! Vectors of numbers on any instruction set, and the choice of the best that the processor has.
//!
//! # Layout, from the bottom
//! - `instruction_set`: what there is to choose from, and how many lanes a vector has
//! - `int8`, `int16`: exact sums of integer products; `vector`: these and eight lanes of `f32` together, trait `Simd`
//! - `panels`: what products with one or two panels of weights need; `avx512`: two in the vectors of AVX-512
//! - `kernel`, `panel_kernel`: code over either, and the function that runs it

#[cfg(target_arch = "x86_64")]
mod avx512;
mod instruction_set;
mod int16;
mod int8;
mod kernel;
mod panel_kernel;
mod panels;
mod vector;

#[cfg(test)]
pub(crate) use instruction_set::Plain;
pub(crate) use instruction_set::{BLOCK, LANES};
pub(crate) use int8::{PackedNibbles, nibble_at};
pub(crate) use int16::{PackedBytes, byte_at};
pub(crate) use kernel::{Kernel, dispatch};
pub(crate) use panel_kernel::{PanelKernel, Path};
pub(crate) use panels::Panels;
pub(crate) use vector::Simd;
