//! Requests that did not reach the engine: each is counted and logged.

use eoscast_proto::status::ServiceError;
use tracing::info;

use crate::engine::EngineHandle;
use crate::metrics::Refusal;

/// Why a request was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) reason: Refusal,
    /// The field that was wrong.
    pub(crate) field: Option<String>,
    /// The error's text. None for an error about a field: its text may quote the prompt, which must not be logged.
    pub(crate) error: Option<String>,
}

impl From<&ServiceError> for Refused {
    fn from(error: &ServiceError) -> Self {
        let (field, text) = match error {
            ServiceError::InvalidArgument(violation) => (Some(violation.field.clone()), None),
            other => (None, Some(other.to_string())),
        };
        Self { reason: error.into(), field, error: text }
    }
}

impl Refused {
    /// Counts and logs it. The ids are the engine's, if the client chose one, and the client's own.
    pub(crate) fn record(&self, engine: &EngineHandle, request_id: Option<&str>, client_request_id: Option<&str>) {
        engine.metrics().on_refused(self.reason);
        info!(
            request_id,
            client_request_id,
            model = engine.model().name,
            reason = self.reason.as_str(),
            field = self.field.as_deref(),
            error = self.error.as_deref(),
            "request refused"
        );
    }
}
