//! What happens to every call that asks for a reply: its `x-request-id` comes back, and the load if it wants it; if it is refused, that
//! is counted and logged.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::error::ApiError;
use crate::client_id::{self, REQUEST_ID};
use crate::load_report;
use crate::refusal::Refused;

/// Runs the call.
pub(super) async fn attend(State(app): State<App>, request: Request, next: Next) -> Response {
    let load_format = load_report::wanted(request.headers());
    let (id, mut response) = match client_id::given(request.headers()) {
        Ok(id) => (id.map(str::to_owned), next.run(request).await),
        Err(violation) => (None, ApiError::from(violation).into_response()),
    };
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        refused.record(&app.engine, None, id.as_deref());
    }
    if let Some(format) = load_format {
        load_report::write(format, &app.engine, response.headers_mut());
    }
    // An id that came in a header fits into one.
    if let Some(Ok(id)) = id.map(HeaderValue::try_from) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
