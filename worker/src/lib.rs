//! The worker: runs a model with continuous batching and streams step events to a predictor.
//!
//! # Layout
//! - [`cli`]: the commands
//! - [`kernels`]: CPU kernels as candle custom ops, each beside its plain-ops twin
//! - [`models`]: one file per architecture, and the table that loads them
//! - [`runner`]: one forward pass over a ragged batch with a paged KV cache
//! - [`text`]: tokenizer and chat template, both from the model file
//! - [`scoring`]: log-probabilities of given replies

pub mod cli;
pub mod kernels;
pub mod models;
pub mod runner;
pub mod scoring;
pub mod text;
