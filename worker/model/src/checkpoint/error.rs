//! Why a checkpoint cannot be used.

use thiserror::Error;

use crate::tensor_error::TensorError;

/// What is wrong with a model's settings or weights.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A GGUF file's header.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A hub folder's files.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A tensor.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A variant of a supported architecture.
    #[error("{0} is not supported")]
    UnsupportedFeature(String),
    /// The tensor library failed.
    #[error("weights cannot be prepared: {0}")]
    Tensor(TensorError),
}

impl From<candle_core::Error> for CheckpointError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.into())
    }
}

/// Why a GGUF file cannot be used.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is something else.
    #[error("not a gguf file (it does not begin with `GGUF`)")]
    NotGguf,
    /// The header contradicts the format or claims absurd sizes.
    #[error("malformed gguf file: {0}")]
    Malformed(String),
    /// A tensor of a type that we do not read.
    #[error("tensor {name} is {found}; supported: {supported}")]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
        /// The types that we read.
        supported: String,
    },
    /// The files of a split model do not belong together.
    #[error("{0}")]
    Split(String),
    /// One file of a split model.
    #[error("{file}: {problem}")]
    Shard {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: Box<GgufError>,
    },
    /// A metadata key that must be there.
    #[error("metadata `{0}` is missing")]
    MissingMetadata(String),
    /// A metadata value of another type, or out of range.
    #[error("metadata `{key}` is not {expected}")]
    InvalidMetadata {
        /// The key.
        key: String,
        /// What it should be.
        expected: String,
    },
}

impl GgufError {
    /// A metadata value that is out of range.
    pub(crate) fn invalid(key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::InvalidMetadata { key: key.into(), expected: expected.into() }
    }
}

/// Why a hub folder cannot be used.
#[derive(Debug, Error)]
pub enum HubError {
    /// A file that cannot be read.
    #[error("{file}: {problem}")]
    Io {
        /// Name in the folder.
        file: String,
        /// What the system says.
        problem: std::io::Error,
    },
    /// A file that contradicts its format, or what we make of it.
    #[error("{file}: {problem}")]
    Malformed {
        /// Name in the folder.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
}

impl HubError {
    pub(crate) fn malformed(file: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), problem: problem.into() }
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
    pub(crate) fn unreadable(name: &str, error: impl Into<TensorError>) -> Self {
        Self::Unreadable { name: name.to_owned(), problem: error.into() }
    }

    /// Compares a tensor's shape with that of the model's sizes.
    pub(crate) fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Shape { name: name.to_owned(), expected: expected.to_vec(), found: found.to_vec() })
    }
}
