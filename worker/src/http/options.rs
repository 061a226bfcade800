//! How the routes answer.

use axum::http::HeaderValue;

/// How the routes answer.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Fields of a body that no server is known to have are ignored instead of refused.
    pub ignore_unknown_fields: bool,
    /// What clients call the model, the first also in answers; its own name if empty.
    pub served_names: Vec<String>,
    /// Origins of web pages that may call; `*` for any.
    pub cors_origins: Vec<HeaderValue>,
}
