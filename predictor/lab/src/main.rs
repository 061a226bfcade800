//! The lab's binary.

use std::process::ExitCode;

use clap::Parser;
use eoscast_lab::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
