//! The predictor binary.

use std::process::ExitCode;

use clap::Parser;
use eoscast_predictor::cli::Cli;

/// Messages and trainings take and give back much memory: the system's allocator costs a tenth of the time of either.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
