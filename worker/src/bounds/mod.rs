//! What clients may make the worker keep: bounded in number and bytes, and shared fairly among clients.
//!
//! # Layout
//! - `client`: who counts as one client
//! - `fair_queue`: places that clients wait in; `fair_slots`: work of which only some runs at a time, and who waits for it
//! - `places`: places that clients hold and may lose to others
//! - `bytes`: memory that is kept for clients

use std::time::Duration;

use eoscast_proto::status::ServiceError;

mod bytes;
mod client;
mod fair_queue;
mod fair_slots;
mod places;

pub(crate) use bytes::{ByteAccount, ByteBudget, ByteLimits, OverBudget};
pub use client::ClientKey;
pub(crate) use client::client_of;
pub(crate) use fair_slots::FairSlots;
pub(crate) use places::{Place, Places};

/// When a client that was refused for want of room may try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The refusal of a request that finds no room among those that are read or wait to be tokenised.
pub(crate) fn too_many_request_bytes() -> ServiceError {
    let message = "too many bytes of requests are waiting: try again later".to_owned();
    ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER }
}
