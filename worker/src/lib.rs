//! The worker: runs a model with continuous batching and streams step events to a predictor.
//!
//! # Layout
//! From the command line down; a module uses only those below it.
//! - [`cli`]: the commands
//! - `server`: the serving process
//! - `rpc`: gRPC; [`http`]: OpenAI's API, health and metrics
//! - [`collection`]: replies to many prompts, as an event log; `scoring`: log-probabilities of given replies
//! - [`engine`]: the thread that turns requests into steps; start reading at its `step`
//! - [`metrics`]: counters and gauges
//! - [`link`]: the predictor: step events out, estimates in
//! - [`runner`]: one forward pass over a ragged batch with a paged KV cache, and the sampler

pub mod cli;
pub mod collection;
pub mod engine;
pub mod http;
pub mod link;
pub mod metrics;
mod rpc;
pub mod runner;
mod scoring;
mod server;
