//! The operations of batched inference: CPU kernels, and their plain twins for other devices.
//!
//! An operation runs where its operands are: on the CPU by a kernel, elsewhere by its twin in `portable`.
//!
//! Every kernel is batch invariant: a result row has the same bits whatever other rows are computed with it, however a prompt is
//! cut into chunks and however many threads there are. A kernel is written once, over the operations of eight lanes
//! (`simd`, `int8` and `int16`), which exist in AVX2 instructions and as plain Rust; products of quantised weights over those of one or
//! two `panels`, two in the vectors of `avx512`. All give the same bits.
//!
//! # Layout
//! - `simd`, `int8`, `int16`, `panels`, `avx512`: the operations, and the choice of the instruction set
//! - `pool`: the threads
//! - `linear`: the linear layer; `matrix`: what it needs of a weight format; `dense`, `packed` with `q4` and `q8`: the
//!   formats; `quantize`: activations in 8 bits
//! - `attention` over a `paged_kv`, on the CPU the blocks of `kv`; `attention_tile`: its inner loops
//! - `norm`, `rope`, `activation`: the small operations between; `rows`: their view of a tensor; `output`: a result that threads share
//! - `stats`: what the sampler reads off a row of logits
//! - `spent`: where the time of the kernels goes; `limits`: what the processor can do at most
//! - `portable`: the twins, as tensor operations of candle

#![expect(clippy::needless_range_loop, reason = "loops over registers index several arrays at once, and unroll surely")]

mod activation;
mod attention;
mod attention_tile;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dense;
mod draw;
mod int16;
mod int8;
mod kv;
mod limits;
mod linear;
mod matrix;
mod norm;
mod output;
mod packed;
mod paged_kv;
mod panels;
mod pool;
mod portable;
mod q4;
mod q8;
mod quantize;
mod rope;
mod rows;
mod simd;
mod spent;
mod stats;
#[cfg(test)]
mod testing;

pub use activation::{Activation, gated};
pub use attention::{AttentionSpan, paged_attention};
pub use draw::Weights;
pub use kv::KvType;
pub use limits::Limits;
pub use linear::{Compute, Linear};
pub use norm::{add_rms_norm, rms_norm};
pub use paged_kv::PagedKv;
pub use pool::Pool;
pub use rope::{RopeLayout, Rotation};
pub use spent::Spent;
pub use stats::{LogitStats, log_sum_exp_of, rank_of, row_stats};
