//! What goes wrong with a template.

use std::borrow::Cow;

use minijinja::{ErrorKind, Value};
use thiserror::Error;

/// An error of the library, by its line.
pub(in crate::text) fn in_words(error: &minijinja::Error) -> String {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

/// Marks an error as the template's own verdict on the messages.
#[derive(Debug, Error)]
#[error("{0}")]
pub(in crate::text) struct Raised(pub(in crate::text) String);

pub(super) fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(refused(message.clone()).with_source(Raised(message)))
}

/// An operation that Python would refuse.
pub(super) fn refused(what: impl Into<Cow<'static, str>>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, what)
}
