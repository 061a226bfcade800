//! `x-request-id`: what a client calls its request. Logs and answers repeat it; the engine has ids of its own, so that several
//! requests may have the same.

use axum::http::HeaderMap;
use eoscast_proto::status::FieldViolation;

/// The header's name.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Longest that is taken.
const MAX_LENGTH: usize = 256;

/// What the client calls the request, if anything.
///
/// # Errors
/// It is too long, or no text.
pub(crate) fn given(headers: &HeaderMap) -> Result<Option<&str>, FieldViolation> {
    let Some(value) = headers.get(REQUEST_ID) else { return Ok(None) };
    match value.to_str() {
        Ok(id) if id.len() <= MAX_LENGTH => Ok(Some(id).filter(|id| !id.is_empty())),
        _ => Err(FieldViolation::new(REQUEST_ID, format!("must be at most {MAX_LENGTH} visible ASCII characters"))),
    }
}
