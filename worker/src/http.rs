//! HTTP: health and metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::engine::EngineHandle;

/// The routes.
pub fn router(engine: EngineHandle) -> Router {
    Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(engine)
}

async fn health(State(engine): State<EngineHandle>) -> Response {
    if engine.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn metrics(State(engine): State<EngineHandle>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match engine.metrics().encode(engine.link()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
