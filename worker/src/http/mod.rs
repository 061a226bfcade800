//! HTTP: OpenAI's API over the same engine as gRPC, health and metrics.
//!
//! # Layout
//! - `job`: a body as a checked job; `completions`, `chat`: what each endpoint reads in its own way
//! - `fields`: a JSON body taken apart field by field; `sampling`: the fields that both endpoints share
//! - `generate`: a job through the engine, answered whole or as server-sent events
//! - `response`, `logprobs`: the shapes of answers
//! - `tokenize`: text to tokens and back
//! - `error`: failures in OpenAI's form

mod chat;
mod completions;
mod error;
mod fields;
mod generate;
mod job;
mod logprobs;
mod response;
mod sampling;
mod tokenize;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::engine::{EngineHandle, RequestPreparer};
use error::ApiError;
use fields::Fields;
use response::Endpoint;

/// Largest request body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Accepted in place of the model's name, for clients that must send one and do not know it.
const DEFAULT_MODEL: &str = "default";

/// What the handlers share.
#[derive(Clone)]
struct App {
    engine: EngineHandle,
    preparer: Arc<RequestPreparer>,
    /// Seconds since 1970 at the start.
    started: u64,
}

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
        .with_state(App { engine, preparer, started: now_seconds() })
}

impl App {
    /// Refuses a request for another model. None named, or [`DEFAULT_MODEL`], is the one served.
    fn check_model(&self, fields: &mut Fields) -> Result<(), ApiError> {
        match fields.take::<String>("model")? {
            Some(name) if !name.is_empty() && name != DEFAULT_MODEL => self.check_name(&name),
            _ => Ok(()),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), ApiError> {
        let served = &self.engine.model().name;
        if name == served { Ok(()) } else { Err(ApiError::unknown_model(name, served)) }
    }

    fn model_object(&self) -> Value {
        json!({
            "id": self.engine.model().name,
            "object": "model",
            "created": self.started,
            "owned_by": "eoscast",
            "max_model_len": self.preparer.token_limit().0,
        })
    }
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

/// OpenAI's unit of time; 0 on a clock before 1970.
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
