//! The event log: JSON lines in three series, appended in an order that makes a torn end harmless.
//!
//! # Layout
//! - [`EventLog`]: the open log; appends, syncs, removes the oldest files
//! - [`record`]: the lines, field by field
//! - [`request`]: makes the lines of one request; [`prompt`], [`running`], [`steering`]: what it needs for that
//! - [`location`]: where files lie and how they are called
//! - [`segment`]: appends to one series; rotation; torn tails
//! - [`reader`]: reads lines back; reports damage by file and line
//! - [`packed`]: files that may be packed with gzip
//! - [`foreign`]: logs of others, with the twelve classic fields in whatever spelling
//! - [`intake`]: counts the lines that readers cannot use, and says why; [`step_reading`]: step lines of any log, read into replies
//! - [`tail`]: the newest part of a log that is too long to read
//! - [`prompts`]: files of prompts to collect replies for

#![warn(missing_docs)]

mod event_log;
pub mod foreign;
pub mod intake;
pub mod location;
pub mod packed;
pub mod prompt;
pub mod prompts;
pub mod reader;
pub mod record;
pub mod request;
pub mod running;
pub mod segment;
pub mod steering;
pub mod step_reading;
pub mod tail;

pub use event_log::{EventLog, Fsync, LogConfig};
