//! The operations of a model, one a file. Each runs on the CPU by a kernel, elsewhere by its twin in `portable`.

mod activation;
mod attention;
mod linear;
mod norm;
mod paged_kv;
mod rope;

pub use activation::gated;
pub use attention::paged_attention;
pub use linear::Linear;
pub use norm::{add_rms_norm, rms_norm};
pub use paged_kv::PagedKv;
pub use rope::Rotation;
