//! Whether the worker serves, how much, and which version.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eoscast_metrics::format::Format;
use serde_json::{Value, json};

use super::app::App;

/// Also what SageMaker calls `/ping`.
pub(super) async fn health(State(app): State<App>) -> Response {
    if app.engine.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

/// Requests that are running or waiting, in vLLM's shape.
pub(super) async fn load(State(app): State<App>) -> Json<Value> {
    Json(json!({ "server_load": app.engine.live_count() }))
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::asked_for(accept);
    match app.engine.metrics().encode(app.engine.link(), format) {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
