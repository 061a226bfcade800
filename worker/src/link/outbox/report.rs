//! [`StepReport`]: what one step has to tell.

use eoscast_proto::domain::{EngineLoad, RequestEnded, RequestStarted, StepEvent};

/// What one step has to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StepReport {
    /// Requests that arrived.
    pub(crate) started: Vec<RequestStarted>,
    /// One per sampled token.
    pub(crate) events: Vec<StepEvent>,
    /// Requests that ended without a token.
    pub(crate) ended: Vec<RequestEnded>,
    /// How busy the engine is.
    pub(crate) load: EngineLoad,
}
