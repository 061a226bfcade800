//! The worker: runs a model with continuous batching and streams step events to a predictor.
//!
//! # Layout
//! - [`cli`]: the commands
//! - [`server`]: the serving process; [`rpc`]: gRPC; [`http`]: OpenAI's API, health and metrics
//! - [`engine`]: the thread that turns requests into steps
//! - [`link`]: the predictor: step events out, estimates in
//! - [`runner`]: one forward pass over a ragged batch with a paged KV cache, and the sampler
//! - [`collection`]: replies to many prompts, as an event log
//! - [`scoring`]: log-probabilities of given replies
//! - [`metrics`]: what is counted; [`tensor_error`]: what the tensor library says when it fails

pub mod cli;
pub mod collection;
pub mod engine;
pub mod http;
pub mod link;
pub mod metrics;
pub mod rpc;
pub mod runner;
pub mod scoring;
pub mod server;
