//! [`Fault`]: why a line is not used.

use std::borrow::Cow;

/// Why a line is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The same for lines with the same fault.
    pub kind: &'static str,
    /// What is wrong with this one.
    pub reason: Cow<'static, str>,
}

impl Fault {
    /// A fault of which there is no more to say than its kind.
    pub(crate) fn of_kind(kind: &'static str) -> Self {
        Self { kind, reason: Cow::Borrowed(kind) }
    }

    /// A fault of this kind.
    pub(crate) fn new(kind: &'static str, reason: String) -> Self {
        Self { kind, reason: Cow::Owned(reason) }
    }
}
