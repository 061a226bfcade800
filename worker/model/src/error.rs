//! Why a model cannot be loaded.

use std::path::PathBuf;

use thiserror::Error;

use super::gguf::GgufError;
use super::hub::HubError;
use crate::tensor_error::TensorError;
use crate::text::{ChatTemplateError, TokenizerError};

/// Why a model cannot be loaded.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A known name whose file lies nowhere.
    #[error("model `{name}` not found (looked for {looked_in}): run `make setup`, or pass the path of a gguf file")]
    NotFound {
        /// The name.
        name: String,
        /// Files tried.
        looked_in: String,
    },
    /// Neither a file nor a known name.
    #[error(
        "model `{name}` is neither a gguf file, nor a folder, nor a known name (known: {known}), nor ORGANISATION/REPOSITORY \
         or ORGANISATION/REPOSITORY:FILE.gguf on the hub"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// Names known.
        known: String,
    },
    /// A repository that the hub does not give.
    #[error(
        "model `{model}`: {file} cannot be downloaded from {endpoint}: {problem}; set HF_ENDPOINT to a hub that can be \
         reached (and HF_TOKEN if it asks for one), or pass the path of a gguf file or of a downloaded folder"
    )]
    Download {
        /// What was asked for.
        model: String,
        /// The file in the repository.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// What the download library says.
        problem: String,
    },
    /// The file or folder is unusable.
    #[error("model file {}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileError,
    },
}

/// What is wrong with a model's file or folder.
#[derive(Debug, Error)]
pub enum FileError {
    /// A GGUF file's header.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A hub folder's files.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A tensor.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    ChatTemplate(#[from] ChatTemplateError),
    /// A model of another kind.
    #[error("architecture `{found}` is not supported (supported: {supported})")]
    UnsupportedArchitecture {
        /// What the file says.
        found: String,
        /// What we have.
        supported: String,
    },
    /// A variant of a supported architecture.
    #[error("{0} is not supported")]
    UnsupportedFeature(String),
    /// The tensor library failed.
    #[error("weights cannot be prepared: {0}")]
    Tensor(TensorError),
}

impl From<candle_core::Error> for FileError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.into())
    }
}

/// Why a tensor cannot be used. Names are the file's own.
#[derive(Debug, Error)]
pub enum WeightError {
    /// A tensor that must be there.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// A tensor whose shape contradicts the model's sizes.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?} by the metadata")]
    Shape {
        /// The tensor.
        name: String,
        /// Shape by the model's sizes, rows first.
        expected: Vec<usize>,
        /// Shape in the file, rows first.
        found: Vec<usize>,
    },
    /// A tensor whose data are truncated or of an unsupported type.
    #[error("tensor `{name}` cannot be read: {problem}")]
    Unreadable {
        /// The tensor.
        name: String,
        /// What the tensor library says.
        problem: TensorError,
    },
    /// A tensor that no part of the architecture uses: ignoring it would change the model.
    #[error("tensor `{0}` is of no use to this architecture: the model is of a variant that is not supported")]
    Unused(String),
}

impl WeightError {
    pub(super) fn unreadable(name: &str, error: impl Into<TensorError>) -> Self {
        Self::Unreadable { name: name.to_owned(), problem: error.into() }
    }

    /// Compares a tensor's shape with that of the model's sizes.
    pub(super) fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Shape { name: name.to_owned(), expected: expected.to_vec(), found: found.to_vec() })
    }
}
