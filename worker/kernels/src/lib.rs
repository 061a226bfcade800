//! The operations of batched inference: CPU kernels, and their plain twins for other devices.
//!
//! An operation runs where its operands are: on the CPU by a kernel, elsewhere by its twin.
//!
//! Every kernel is batch invariant: a result row has the same bits whatever other rows are computed with it, however a prompt is
//! cut into chunks and however many threads there are. A kernel is written once, over vectors that exist in the instructions of
//! AVX2 (for quantised products also of AVX-512) and as plain Rust. All give the same bits.
//!
//! # Layout
//! From the top; a module uses only those below it.
//! - `ops`: the operations of a model; each picks its kernel or its twin
//! - `cpu`: the kernels; `portable`: the twins, as tensor operations of candle
//! - `limits`: what the processor can do at most; `spent`: where the time of the kernels goes
//! - `options`, `cache_shape`, `span`: what callers choose and pass, the same for kernels and twins
//! - `pool`: the threads
//! - `simd`: the vectors, and the choice of the instruction set

#![expect(clippy::needless_range_loop, reason = "loops over registers index several arrays at once, and unroll surely")]

mod cache_shape;
mod cpu;
mod limits;
mod ops;
mod options;
mod pool;
mod portable;
mod simd;
mod span;
mod spent;
#[cfg(test)]
mod testing;

pub use cache_shape::CacheShape;
pub use cpu::{LogitStats, Weights, log_sum_exp_of, rank_of, row_stats};
pub use limits::Limits;
pub use ops::{Linear, PagedKv, Rotation, add_rms_norm, gated, paged_attention, rms_norm};
pub use options::{Activation, Compute, KvType, RopeLayout};
pub use pool::Pool;
pub use span::AttentionSpan;
pub use spent::Spent;
