//! Answers that are made as a whole: their bytes count until the connection has taken them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use eoscast_proto::status::ServiceError;
use serde::Serialize;
use tokio_stream::Stream;

/// Bytes that the connection gets at once: it asks for more when they are sent.
const PIECE_BYTES: usize = 64 * 1024;

/// The rest of a body, and what counts it.
struct Unsent<A> {
    rest: Bytes,
    account: Option<A>,
}

/// An answer's JSON.
pub(super) fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(answer).map_err(|error| ServiceError::Internal(format!("the answer cannot be written: {error}")))
}

/// Answers with JSON; drops `account` when it is sent, or the client has gone.
pub(super) fn respond<A: Send + Unpin + 'static>(json: Vec<u8>, account: A) -> Response {
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_LENGTH, json.len().to_string())];
    (headers, Body::from_stream(Unsent { rest: json.into(), account: Some(account) })).into_response()
}

impl<A: Unpin> Stream for Unsent<A> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.rest.len().min(PIECE_BYTES);
        // A copy: a slice would keep the whole answer in memory after its account is gone.
        let piece = Bytes::copy_from_slice(&self.rest.split_to(piece));
        if self.rest.is_empty() {
            self.account = None;
        }
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}
