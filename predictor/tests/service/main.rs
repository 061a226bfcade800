//! The predictor as a process, seen by raw clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy.toml allows them in test functions only, not in what these share"
)]

mod calls;
mod command_line;
mod connections;
mod durability;
mod event_log;
mod many_workers;
mod memory;
mod predictor;
mod pressure;
mod replay;
mod shutdown;
mod streams;
mod swaps;
mod workload;
