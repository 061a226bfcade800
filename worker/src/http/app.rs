//! What the handlers share.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use eoscast_proto::hash::fnv1a;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::Fields;
use super::known_fields::UnknownFields;
use super::options::HttpOptions;
use crate::bounds::{ClientKey, client_of};
use crate::engine::{EngineHandle, RequestPreparer};
use crate::runner::ModelSpec;

/// Accepted in place of the model's name, for clients that must send one and do not know it.
const DEFAULT_MODEL: &str = "default";

/// What the handlers share.
#[derive(Clone)]
pub(super) struct App {
    pub(super) engine: EngineHandle,
    pub(super) preparer: Arc<RequestPreparer>,
    pub(super) unknown_fields: UnknownFields,
    /// What clients call the model, the first also in answers; its own name if empty.
    served_names: Arc<[String]>,
    /// Hash of the worker's version and the model's name and shape; the weights are not read.
    pub(super) fingerprint: Arc<str>,
    /// Seconds since 1970 at the start.
    started: u64,
}

/// What every endpoint with a body reads.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ModelField {
    /// The model's name; absent, empty or `default` for the one that is served.
    model: Option<String>,
}

impl App {
    pub(super) fn new(engine: EngineHandle, preparer: Arc<RequestPreparer>, options: HttpOptions) -> Self {
        let fingerprint = fingerprint(engine.model()).into();
        let unknown_fields =
            if options.ignore_unknown_fields { UnknownFields::Ignored } else { UnknownFields::Refused };
        let served_names = options.served_names.into();
        Self { engine, preparer, unknown_fields, served_names, fingerprint, started: now_seconds() }
    }

    /// The name in answers.
    pub(super) fn model_name(&self) -> &str {
        self.served_names.first().unwrap_or(&self.engine.model().name)
    }

    /// Refuses a request for another model. None named, or [`DEFAULT_MODEL`], is the one served.
    pub(super) fn check_model(&self, fields: &mut Fields) -> Result<(), ApiError> {
        match fields.read::<ModelField>()?.model {
            Some(name) if !name.is_empty() && name != DEFAULT_MODEL => self.check_name(&name),
            _ => Ok(()),
        }
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), ApiError> {
        let is_served = name == self.model_name() || self.served_names.iter().any(|served| served == name);
        if is_served { Ok(()) } else { Err(ApiError::unknown_model(name, self.model_name())) }
    }

    /// One object for each name.
    pub(super) fn model_objects(&self) -> Vec<Value> {
        match &*self.served_names {
            [] => vec![self.model_object(self.model_name())],
            names => names.iter().map(|name| self.model_object(name)).collect(),
        }
    }

    pub(super) fn model_object(&self, name: &str) -> Value {
        json!({
            "id": name,
            "object": "model",
            "created": self.started,
            "owned_by": "eoscast",
            "root": self.engine.model().name,
            "max_model_len": self.preparer.token_limit().0,
        })
    }
}

impl FromRequestParts<App> for ClientKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(client_of(&parts.extensions))
    }
}

fn fingerprint(model: &ModelSpec) -> String {
    let ModelSpec { name, architecture, quantization, parameters, vocab_size, .. } = model;
    let facts = format!("{name}/{architecture}/{quantization}/{parameters}/{vocab_size}");
    format!("fp_{:016x}", fnv1a(&facts, fnv1a(env!("CARGO_PKG_VERSION"), 0)))
}

/// OpenAI's unit of time; 0 on a clock before 1970.
pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
