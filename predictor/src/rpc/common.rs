//! What the calls share.

use std::pin::Pin;

use eoscast_proto::domain::RequestState;
use eoscast_proto::status::{FieldViolation, ServiceError};
use tokio_stream::Stream;
use tonic::Status;

use crate::tracker::RequestKey;

/// Live requests that are looked at in one go: no message is applied meanwhile.
pub(super) const PIECE: usize = 250;

/// A server-side stream of messages.
pub(super) type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A field that is wrong.
pub(super) fn invalid(field: &str, description: impl Into<String>) -> ServiceError {
    FieldViolation::new(field, description).into()
}

/// The name of a live request.
pub(super) fn key(state: &RequestState) -> RequestKey {
    (state.worker_id.clone(), state.started.request_id.clone())
}
