//! [`Stop`]: when the training of a network ends.

use super::sample::Sample;

/// When the training of a network ends.
pub(crate) enum Stop<'a> {
    /// When nothing gets better for these requests, or after so many passes over the data.
    Early {
        /// Requests that are not trained on.
        validation: &'a [&'a Sample],
        /// Most passes.
        most: u32,
    },
    /// After so many passes over the data.
    After(u32),
}

impl Stop<'_> {
    /// Most passes over the data.
    pub(crate) fn most(&self) -> u32 {
        match *self {
            Self::Early { most, .. } => most,
            Self::After(epochs) => epochs,
        }
    }

    /// Requests that decide.
    pub(crate) fn validation(&self) -> Option<&[&Sample]> {
        match *self {
            Self::Early { validation, .. } => Some(validation),
            Self::After(_) => None,
        }
    }
}
