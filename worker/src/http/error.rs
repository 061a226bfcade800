//! Failures in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use eoscast_proto::status::{FieldViolation, ServiceError};
use schemars::JsonSchema;
use serde::Serialize;

use super::paths::meant_by;
use crate::client_id::REQUEST_ID;
use crate::metrics::Refusal;
use crate::refusal::Refused;

/// Most of what a client wrote, such as a key, a path or a name, that answers and logs repeat.
const MOST_REPEATED_BYTES: usize = 128;

/// A request that failed.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<Duration>,
    /// None if the engine had taken the request: the engine counts and logs its end.
    refusal: Option<Refusal>,
}

/// As it is sent, in an answer of its own or in the middle of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ErrorBody {
    message: String,
    r#type: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

/// The outer object.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorObject {
    error: ErrorBody,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>, param: Option<String>, code: Option<&'static str>) -> Self {
        let r#type = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let body = ErrorBody { message: message.into(), r#type, param, code };
        Self { status, body, retry_after: None, refusal: Some(Refusal::Invalid) }
    }

    /// A body that is not what the endpoint reads at all.
    pub(super) fn unreadable(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message, None, None)
    }

    pub(super) fn unknown_model(name: &str, served: &str) -> Self {
        let message = format!("model: `{}` is not served here, use `{served}`", beginning(name));
        let error = Self::new(StatusCode::NOT_FOUND, message, Some("model".into()), Some("model_not_found"));
        Self { refusal: Some(Refusal::UnknownModel), ..error }
    }

    /// The failure of a request that the engine had taken.
    pub(super) fn of_reply(error: ServiceError) -> Self {
        Self { refusal: None, ..error.into() }
    }

    pub(super) async fn no_route(method: Method, uri: Uri) -> Self {
        let instead = meant_by(uri.path()).map_or_else(String::new, |endpoint| format!(": use {endpoint}"));
        let message = format!("no such endpoint: {method} {}{instead}", beginning(uri.path()));
        Self::new(StatusCode::NOT_FOUND, message, None, None)
    }

    pub(super) async fn wrong_method(method: Method, uri: Uri) -> Self {
        let message = format!("{} does not take {method}", beginning(uri.path()));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message, None, None)
    }

    /// What is sent.
    pub(super) fn into_object(self) -> ErrorObject {
        ErrorObject { error: self.body }
    }
}

impl From<FieldViolation> for ApiError {
    fn from(FieldViolation { field, description }: FieldViolation) -> Self {
        let field = beginning(openai_name(&field));
        Self::new(StatusCode::BAD_REQUEST, format!("{field}: {description}"), Some(field.to_owned()), None)
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let (message, refusal) = (error.to_string(), Refusal::from(&error));
        let mut retry_after = None;
        let (status, code) = match error {
            ServiceError::InvalidArgument(violation) => return violation.into(),
            ServiceError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            ServiceError::AlreadyExists(_) => (StatusCode::CONFLICT, "request_id_in_use"),
            ServiceError::FailedPrecondition(_) | ServiceError::EpochOver { .. } => {
                (StatusCode::BAD_REQUEST, "failed_precondition")
            }
            ServiceError::ResourceExhausted { retry_after: wait, .. } => {
                retry_after = Some(wait);
                (StatusCode::TOO_MANY_REQUESTS, "queue_full")
            }
            ServiceError::DeadlineExceeded(_) => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
            ServiceError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ServiceError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { retry_after, refusal: Some(refusal), ..Self::new(status, message, None, Some(code)) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let refused = self.refusal.map(|reason| Refused {
            reason,
            field: self.body.param.clone(),
            error: (!reason.is_of_a_field()).then(|| self.body.message.clone()),
        });
        let mut response = (status, Json(self.into_object())).into_response();
        if let Some(refused) = refused {
            response.extensions_mut().insert(refused);
        }
        if let Some(wait) = retry_after {
            // Whole seconds, and never 0: that would ask to try again at once.
            let seconds = wait.as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What is repeated of what a client wrote.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_REPEATED_BYTES)]
}

/// OpenAI's name for a field of the gRPC contract.
fn openai_name(field: &str) -> &str {
    match field {
        "text" | "token_ids.ids" => "prompt",
        "chat" => "messages",
        "request_id" => REQUEST_ID,
        _ => field.strip_prefix("sampling_params.").or_else(|| field.strip_prefix("chat.")).unwrap_or(field),
    }
}
