//! Where a model's weights and settings come from: a GGUF file or a folder of the hub.
//!
//! # Layout
//! - `locate`: from a name to a path
//! - `source`: either kind, opened: `gguf` files, `hub` folders
//! - `rope_scaling`: a setting that both have; `error`: what can be wrong with them

mod error;
mod gguf;
mod hub;
mod locate;
mod rope_scaling;
mod source;

pub use error::{CheckpointError, GgufError, HubError, WeightError};
pub(crate) use gguf::{GgufFile, Metadata};
pub use hub::{DownloadError, Hub, HubModel};
pub(crate) use hub::{HubConfig, HubConventions, HubFolder, TokenIds, parse_json, positive, read_json, read_text};
pub use locate::{LocateError, locate};
pub(crate) use rope_scaling::RopeScaling;
pub(crate) use source::Checkpoint;
