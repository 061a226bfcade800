//! Model folders as the Hugging Face hub has them: `config.json`, safetensors, `tokenizer.json`.
//!
//! # Layout
//! - `folder`: an open one, over `safetensors`, `shards` (which files hold the weights) and `names` (of tensors)
//! - `config`: `config.json`; `conventions`: what architectures mean where it says nothing; `json`: how such files are read
//! - `download`: folders and files from the hub

mod config;
mod conventions;
mod download;
mod folder;
mod json;
mod names;
mod safetensors;
mod shards;

pub(crate) use config::{HubConfig, TokenIds, positive};
pub(crate) use conventions::HubConventions;
pub use download::{DownloadError, Hub, HubModel};
pub(crate) use folder::HubFolder;
pub(crate) use json::{parse_json, read_json, read_text};
