//! HTTP: OpenAI's API over the same engine as gRPC, health and metrics.
//!
//! # Layout
//! - `options`: how the routes answer; `app`: what the handlers share
//! - `requests`: what happens to every call that asks for a reply; `cors`: web pages of other origins
//! - `status`: whether the worker serves, how much, and which version
//! - `body`: a body as its `fields`, which are read set by set; `whole`: their integers; `known_fields`: what becomes of fields
//!   that no set has
//! - `sampling`, `delivery`: the fields that both generating endpoints share; `messages`, `tools`: conversations
//! - `completions`, `chat`: the fields that only one endpoint has, or reads in its own way, as `endpoint_fields`
//! - `job`: all of them as a checked job
//! - `generate`: a job through the engine, answered whole or as server-sent events
//! - `response`, `logprobs`: the shapes of answers
//! - `whole_answer`: answers that are not streamed, which count as unread until they are sent
//! - `tokenize`: text to tokens and back
//! - `openapi`: the description of all this, made from the same types
//! - `error`: failures in OpenAI's form; `paths`: what a wrong path means

mod app;
mod body;
mod chat;
mod completions;
pub(crate) mod cors;
mod delivery;
mod endpoint_fields;
mod error;
mod fields;
mod generate;
mod job;
mod known_fields;
mod logprobs;
mod messages;
mod openapi;
mod options;
mod paths;
mod requests;
mod response;
mod sampling;
mod status;
mod tokenize;
mod tools;
mod whole;
mod whole_answer;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use crate::bounds::ClientKey;
use crate::engine::{EngineHandle, RequestPreparer};
use app::App;
use error::ApiError;
use fields::Fields;
pub use options::HttpOptions;
use response::Endpoint;

/// The routes.
pub fn router(engine: EngineHandle, preparer: Arc<RequestPreparer>, options: HttpOptions) -> Router {
    let cors_origins = options.cors_origins.clone();
    let app = App::new(engine, preparer, options);
    let router = Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat_completions))
        .route_layer(middleware::from_fn_with_state(app.clone(), requests::attend))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/health", get(status::health))
        .route("/ping", get(status::health).post(status::health))
        .route("/load", get(status::load))
        .route("/version", get(status::version))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(ApiError::no_route)
        .method_not_allowed_fallback(ApiError::wrong_method)
        .with_state(app);
    if cors_origins.is_empty() { router } else { router.layer(cors::layer(&cors_origins)) }
}

async fn completions(
    State(app): State<App>,
    client: ClientKey,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, ApiError> {
    generate::handle(Endpoint::Completions, app, client, headers, fields).await
}

async fn chat_completions(
    State(app): State<App>,
    client: ClientKey,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, ApiError> {
    generate::handle(Endpoint::Chat, app, client, headers, fields).await
}

async fn models(State(app): State<App>) -> Json<Value> {
    Json(json!({ "object": "list", "data": app.model_objects() }))
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    app.check_name(&name)?;
    Ok(Json(app.model_object(&name)))
}
