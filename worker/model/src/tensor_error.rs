//! What the tensor library says when it fails, without the backtrace that `RUST_BACKTRACE` makes it append.

use candle_core::Error;
use thiserror::Error;

/// A failure of the tensor library, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TensorError(String);

impl From<Error> for TensorError {
    fn from(error: Error) -> Self {
        match error {
            Error::WithBacktrace { inner, .. } => Self::from(*inner),
            Error::Context { inner, context } => Self(format!("{context}: {}", Self::from(*inner))),
            Error::WithPath { inner, path } => Self(format!("{}: {}", path.display(), Self::from(*inner))),
            other => Self(other.to_string()),
        }
    }
}
