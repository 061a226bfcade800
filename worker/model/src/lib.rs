//! Language models from files: weights, tokenizer, chat template and architecture.
//!
//! Loading is a line, and the modules stand in its order: a checkpoint, the texts in it, an architecture over its weights.
//!
//! # Layout
//! From the top; a module uses only those below it.
//! - `load`: from a path to a model; `error`: why there is none
//! - `architecture`: what a model computes, trait [`CausalLm`]; one file an architecture, listed in `ARCHITECTURES`
//! - [`text`]: tokenizer and chat template
//! - `checkpoint`: GGUF files and folders of the hub; where they lie, and their download
//! - `tensor_error`: failures of the tensor library, in one line

mod architecture;
mod checkpoint;
mod error;
mod load;
mod tensor_error;
pub mod text;

pub use architecture::{CausalLm, Forward, KvShape, Rows};
pub use checkpoint::{
    CheckpointError, DownloadError, GgufError, Hub, HubError, HubModel, LocateError, WeightError, locate,
};
pub use error::{FileError, ModelError};
pub use load::{LoadOptions, LoadedModel, load};
pub use tensor_error::TensorError;
