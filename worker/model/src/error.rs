//! Why a model cannot be loaded.

use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::text::TokenizerError;

/// A model's file or folder that is unusable.
#[derive(Debug, Error)]
#[error("model file {}: {problem}", path.display())]
pub struct ModelError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileError,
}

/// What is wrong with a model's file or folder.
#[derive(Debug, Error)]
pub enum FileError {
    /// Settings or weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A model of another kind.
    #[error("architecture `{found}` is not supported (supported: {supported})")]
    UnsupportedArchitecture {
        /// What the file says.
        found: String,
        /// What we have.
        supported: String,
    },
}
