//! The engine: one thread that turns requests into steps.
//!
//! # Layout
//! - `prepare`: a request checked against the model; only a [`PreparedRequest`] goes further; `conversation`: messages as prompt
//!   text
//! - `encoders`: texts are encoded a few at a time
//! - [`handle`]: the async side: submit, abort, loads; `command`: what it sends to the thread
//! - `turns`: which waiting requests the scheduler sees; `reply`: the way back to the client
//! - `step`: the loop: schedule, execute, apply; `config`: its limits
//! - `requests`: the live requests, in the scheduler and as sequences; `sequence`: one of them; `prompt_scores`: what a prompt's
//!   tokens got
//! - `output`: bytes to text, and stop texts; `characters`: bytes to characters; `live_ids`: which ids are in use; `finish_line`: the
//!   log of a request's end

mod characters;
mod command;
mod config;
mod conversation;
mod encoders;
mod finish_line;
pub mod handle;
mod live_ids;
mod output;
pub mod prepare;
mod prompt_scores;
mod reply;
mod requests;
mod sequence;
mod step;
mod turns;

pub use config::EngineConfig;
pub use handle::{EngineHandle, EngineThread};
pub use prepare::{EncodeOptions, PreparedRequest, RequestPreparer};
pub use reply::ReplyStream;
pub(crate) use reply::Unread;
