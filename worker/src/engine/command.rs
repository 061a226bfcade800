//! What the async side sends to the engine thread.

use std::time::Instant;

use eoscast_proto::domain::RequestId;

use super::live_ids::LiveId;
use super::prepare::PreparedRequest;
use super::reply::ReplySender;
use crate::bounds::Place;

/// What the engine thread does between two steps.
pub(crate) enum Command {
    Submit(Box<Submission>),
    Abort(RequestId),
    /// Finish what is live; abort what is left at the deadline. No Submit follows.
    Drain(Instant),
}

/// A request on its way into the engine, with what it holds until it ends.
pub(crate) struct Submission {
    pub(crate) request: PreparedRequest,
    pub(crate) reply: ReplySender,
    pub(crate) submitted: Instant,
    pub(crate) live: LiveId,
    /// Given back on admission.
    pub(crate) place: Place,
}
