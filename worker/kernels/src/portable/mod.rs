//! The twins of the CPU kernels as tensor operations of candle: what a GPU runs.
//!
//! They work on any device, so that a machine without a GPU can test them. Unlike the kernels they are not batch
//! invariant: matrix products round by their shape, so a row's last bits depend on the rows beside it.
//!
//! # Layout
//! - `linear`, `norm`, `rope`, `activation`: one operation each
//! - `kv`: the cache of one layer; `plan`: where the spans of a batch lie in it; `attention` over both

mod activation;
mod attention;
mod kv;
mod linear;
mod norm;
mod plan;
mod rope;

pub(crate) use activation::gated;
pub(crate) use attention::paged_attention;
pub(crate) use kv::KvTensors;
pub(crate) use linear::Linear;
pub(crate) use norm::{add_rms_norm, rms_norm};
pub(crate) use rope::Rotation;
