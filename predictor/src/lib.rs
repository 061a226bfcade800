//! The predictor: forecasts how many tokens each live request will still generate, from the step events of workers.
//!
//! # Layout
//! Data flows one way: [`rpc`] reads a stream -> [`pipeline`] folds and forecasts in the same task -> estimates go straight back,
//! lines go to the writing thread, which lets the stream acknowledge them. So a slow disk delays acknowledgements only.
//!
//! - [`tracker`]: live requests; messages in, estimates and log lines out; pure
//! - [`accuracy`]: forecasts compared with outcomes as requests finish
//! - [`recovery`]: what the event log (crate `eoscast-log`) says of the time before a restart
//! - [`retraining`]: refits models from the log while it serves, and swaps in what is better
//! - [`replay`]: makes every estimate of a log again and compares
//! - [`pipeline`]: the state behind all streams, and the thread that writes
//! - [`rpc`]: the gRPC service; the only place with generated types
//! - [`server`]: `run(listener, config, shutdown)`; health, reflection
//! - [`metrics`]: Prometheus metrics and `/health`
//! - [`cli`]: command lines

pub mod accuracy;
pub mod cli;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub mod recovery;
pub(crate) mod replay;
pub(crate) mod retraining;
pub(crate) mod rpc;
pub(crate) mod server;
pub mod tracker;
