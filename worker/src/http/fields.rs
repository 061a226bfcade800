//! A JSON body taken apart field by field, so that an error can name the field whatever shape its neighbours have.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use eoscast_proto::status::FieldViolation;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::ApiError;

/// Largest request body.
pub(super) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The fields of a JSON object that nobody has taken yet. Unknown ones are ignored, as clients send fields of many servers.
pub(super) struct Fields(HashMap<String, Box<RawValue>>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // Asking for this type keeps web pages of other origins out: browsers do not send it without asking us first.
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let message = "content-type: must be application/json";
            return Err(ApiError::unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("body exceeds {} MiB", MAX_BODY_BYTES >> 20);
                ApiError::unreadable(StatusCode::PAYLOAD_TOO_LARGE, message)
            }
            status => ApiError::unreadable(status, format!("body cannot be read: {}", rejection.body_text())),
        })?;
        let fields = serde_json::from_slice(&body).map_err(|error| {
            ApiError::unreadable(StatusCode::BAD_REQUEST, format!("body must be a json object: {error}"))
        })?;
        Ok(Self(fields))
    }
}

impl Fields {
    /// Takes field `name`; `None` if it is absent or null.
    ///
    /// # Errors
    /// A violation of the field, or of the place in it, that is not a `T`.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, FieldViolation> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let mut json = serde_json::Deserializer::from_str(value.get());
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = match error.path().to_string() {
                path if path == "." => name.to_owned(),
                path if path.starts_with('[') => format!("{name}{path}"),
                path => format!("{name}.{path}"),
            };
            let message = error.inner().to_string();
            // The position is that within the field.
            let description = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
            FieldViolation::new(field, description)
        })
    }

    /// Refuses field `name` unless its value asks for nothing: null, false, or empty.
    ///
    /// # Errors
    /// A violation of the field.
    pub(super) fn refuse(&mut self, name: &str) -> Result<(), FieldViolation> {
        let asks = match self.take::<Value>(name)? {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(values)) => !values.is_empty(),
            Some(Value::Object(fields)) => !fields.is_empty(),
            Some(Value::Bool(true) | Value::Number(_)) => true,
        };
        if asks { Err(FieldViolation::new(name, "is not supported: leave it out")) } else { Ok(()) }
    }
}
