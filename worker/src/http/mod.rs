//! HTTP: OpenAI's API over the same engine as gRPC, health and metrics.
//!
//! # Layout
//! - `app`: what the handlers share
//! - `fields`: a JSON body taken apart field by field; `sampling`: the fields that both endpoints share
//! - `completions`, `chat`: the fields that only one endpoint has, or reads in its own way, as `endpoint_fields`
//! - `job`: all of them as a checked job
//! - `generate`: a job through the engine, answered whole or as server-sent events
//! - `response`, `logprobs`: the shapes of answers
//! - `tokenize`: text to tokens and back
//! - `error`: failures in OpenAI's form

mod app;
mod chat;
mod completions;
mod endpoint_fields;
mod error;
mod fields;
mod generate;
mod job;
mod logprobs;
mod response;
mod sampling;
mod tokenize;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::engine::{EngineHandle, RequestPreparer};
use app::App;
use error::ApiError;
use fields::{Fields, MAX_BODY_BYTES};
use response::Endpoint;

/// The routes.
pub fn router(engine: EngineHandle, preparer: Arc<RequestPreparer>) -> Router {
    Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .fallback(ApiError::no_route)
        .method_not_allowed_fallback(ApiError::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(App::new(engine, preparer))
}

async fn completions(State(app): State<App>, headers: HeaderMap, fields: Fields) -> Result<Response, ApiError> {
    generate::handle(Endpoint::Completions, app, headers, fields).await
}

async fn chat_completions(State(app): State<App>, headers: HeaderMap, fields: Fields) -> Result<Response, ApiError> {
    generate::handle(Endpoint::Chat, app, headers, fields).await
}

async fn models(State(app): State<App>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [app.model_object()] }))
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    app.check_name(&name)?;
    Ok(Json(app.model_object()))
}

async fn health(State(app): State<App>) -> Response {
    if app.engine.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn metrics(State(app): State<App>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match app.engine.metrics().encode(app.engine.link()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
