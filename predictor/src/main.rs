//! The predictor binary.

use std::process::ExitCode;

use clap::Parser;
use eoscast_predictor::cli::Cli;

/// Steps are many small values that one thread makes and another drops: glibc's allocator takes a tenth more time for them, and keeps
/// for good what a burst of load needed (docs/evidence/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
