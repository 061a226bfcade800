//! The engine: one thread that turns requests into steps.
//!
//! # Layout
//! - [`prepare`]: a request checked against the model; only a [`PreparedRequest`] goes further
//! - [`handle`]: the async side: submit, abort, loads
//! - [`step`]: the loop: schedule, execute, apply
//! - [`sequence`]: one live request
//! - [`output`]: bytes to text, and stop texts

pub mod handle;
pub mod output;
pub mod prepare;
pub mod sequence;
pub mod step;

pub use handle::{EngineHandle, EngineThread, Reply};
pub use prepare::{PreparedRequest, RequestPreparer};
pub use step::EngineConfig;
