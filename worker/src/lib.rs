//! The worker: runs a model with continuous batching and streams step events to a predictor.
//!
//! # Layout
//! From the command line down; a module uses only those below it.
//! - [`cli`]: the commands
//! - `server`: the serving process
//! - `load_line`: the load in the log
//! - `rpc`: gRPC; [`http`]: OpenAI's API, health and metrics
//! - `load_report`: the load in the terms of balancers
//! - `refusal`: requests that did not get as far as the engine; `client_id`: what clients call theirs
//! - [`collection`]: replies to many prompts, as an event log; `scoring`: log-probabilities of given replies
//! - [`engine`]: the thread that turns requests into steps; start reading at its `step`
//! - [`bounds`]: what clients may make the worker keep, and how they share it
//! - [`metrics`]: counters and gauges
//! - [`link`]: the predictor: step events out, estimates in
//! - [`runner`]: one forward pass over a ragged batch with a paged KV cache, and the sampler

pub mod bounds;
pub mod cli;
mod client_id;
pub mod collection;
pub mod engine;
pub mod http;
pub mod link;
mod load_line;
mod load_report;
pub mod metrics;
mod refusal;
mod rpc;
pub mod runner;
mod scoring;
mod server;
