//! A running pair of services, for the end-to-end tests, the demo and experiments.
//!
//! # Layout
//! - [`process`]: one of our binaries as a child process
//! - [`pair`]: predictor and worker together, on ephemeral ports
//! - [`client`]: replies collected over gRPC
//! - [`log`]: the predictor's JSONL, read back
//! - [`prompts`]: a dozen prompts of our own

pub mod client;
pub mod log;
pub mod pair;
pub mod process;
pub mod prompts;
