//! The engine: one thread that turns requests into steps.
//!
//! # Layout
//! - `prepare`: a request checked against the model; only a [`PreparedRequest`] goes further
//! - [`handle`]: the async side: submit, abort, loads; `command`: what it sends to the thread
//! - `step`: the loop: schedule, execute, apply; `config`: its limits
//! - `requests`: the live requests, in the scheduler and as sequences; `sequence`: one of them
//! - `output`: bytes to text, and stop texts; `live_ids`: which ids are in use

mod command;
mod config;
pub mod handle;
mod live_ids;
mod output;
pub mod prepare;
mod requests;
mod sequence;
mod step;

pub use config::EngineConfig;
pub use handle::{EngineHandle, EngineThread, ReplyStream};
pub use prepare::{PreparedRequest, RequestPreparer};
