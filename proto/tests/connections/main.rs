//! Listeners with real sockets: who gets in, who is cut and when, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod aging;
mod bodies;
mod client;
mod crowds;
mod limits;
mod server;
mod unread;
mod waiting;
