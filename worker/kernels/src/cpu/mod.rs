//! The kernels for the CPU.
//!
//! # Layout
//! - `rows`: their view of a tensor; `output`: a result that threads share
//! - `norm`, `rope`, `activation`: the small operations of a layer
//! - `kv`: the cache of one layer; `attention` over it, with its inner loops in `attention_tile`
//! - `linear`: the linear layer over `formats`, one for each weight format: `dense`, or `packed` with the blocks of `q4_0`, `q8`
//!   and `affine`, whose `integers` are `nibbles` or `bytes`; `matrix`: what they have in common; `quantize`: activations in 8 or 16 bits
//! - `stats`, `draw`: what the sampler needs of a row of logits

mod activation;
mod affine;
mod attention;
mod attention_tile;
mod bytes;
mod dense;
mod draw;
mod formats;
mod integers;
mod kv;
mod linear;
mod matrix;
mod nibbles;
mod norm;
mod output;
mod packed;
mod q4_0;
mod q8;
mod quantize;
mod rope;
mod rows;
mod stats;

pub(crate) use activation::gated;
pub(crate) use attention::paged_attention;
pub use draw::Weights;
pub(crate) use kv::KvBlocks;
pub(crate) use linear::Linear;
pub(crate) use norm::{add_rms_norm, rms_norm};
#[cfg(test)]
pub(crate) use quantize::ActivationInteger;
pub(crate) use rope::RotationTables;
pub use stats::{LogitStats, log_sum_exp_of, rank_of, row_stats};
