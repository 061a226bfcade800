//! GGUF files. `file` opens a model, in one file or several (`shards`); `header` reads what each says before its data, with the
//! `types` of tensors; `metadata` gives its settings.

mod file;
mod header;
mod metadata;
mod shards;
mod types;

pub(crate) use file::GgufFile;
pub(crate) use metadata::Metadata;
pub(crate) use shards::ShardName;
