//! GGUF files. `header` checks a file's claims before `file` opens it; `metadata` reads its settings.

mod file;
mod header;
mod metadata;

pub(crate) use file::GgufFile;
pub(crate) use metadata::Metadata;
