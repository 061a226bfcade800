//! The worker: runs a model with continuous batching and streams step events to a predictor.
//!
//! # Layout
//! - [`cli`]: the commands
//! - [`server`]: the serving process; [`rpc`]: gRPC; [`http`]: OpenAI's API, health and metrics
//! - [`engine`]: the thread that turns requests into steps
//! - [`link`]: the predictor: step events out, estimates in
//! - [`runner`]: one forward pass over a ragged batch with a paged KV cache, and the sampler
//! - [`models`]: one file per architecture, and the table that loads them
//! - [`kernels`]: CPU kernels as candle custom ops, each beside its plain-ops twin
//! - [`text`]: tokenizer and chat template, both from the model file
//! - [`collection`]: replies to many prompts, as an event log
//! - [`simulation`]: policies compared in virtual time, over traces
//! - [`scoring`]: log-probabilities of given replies
//! - [`metrics`]: what is counted; [`tensor_error`]: what the tensor library says when it fails

pub mod cli;
pub mod collection;
pub mod engine;
pub mod http;
pub mod kernels;
pub mod link;
pub mod metrics;
pub mod models;
pub mod rpc;
pub mod runner;
pub mod scoring;
pub mod server;
pub mod simulation;
pub mod tensor_error;
pub mod text;
