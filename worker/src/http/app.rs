//! What the handlers share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::Fields;
use crate::engine::{EngineHandle, RequestPreparer};

/// Accepted in place of the model's name, for clients that must send one and do not know it.
const DEFAULT_MODEL: &str = "default";

/// What the handlers share.
#[derive(Clone)]
pub(super) struct App {
    pub(super) engine: EngineHandle,
    pub(super) preparer: Arc<RequestPreparer>,
    /// Seconds since 1970 at the start.
    started: u64,
}

impl App {
    pub(super) fn new(engine: EngineHandle, preparer: Arc<RequestPreparer>) -> Self {
        Self { engine, preparer, started: now_seconds() }
    }

    /// Refuses a request for another model. None named, or [`DEFAULT_MODEL`], is the one served.
    pub(super) fn check_model(&self, fields: &mut Fields) -> Result<(), ApiError> {
        match fields.take::<String>("model")? {
            Some(name) if !name.is_empty() && name != DEFAULT_MODEL => self.check_name(&name),
            _ => Ok(()),
        }
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), ApiError> {
        let served = &self.engine.model().name;
        if name == served { Ok(()) } else { Err(ApiError::unknown_model(name, served)) }
    }

    pub(super) fn model_object(&self) -> Value {
        json!({
            "id": self.engine.model().name,
            "object": "model",
            "created": self.started,
            "owned_by": "eoscast",
            "max_model_len": self.preparer.token_limit().0,
        })
    }
}

/// OpenAI's unit of time; 0 on a clock before 1970.
pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
