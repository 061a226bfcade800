//! The worker binary.

use clap::Parser;

fn main() -> std::process::ExitCode {
    match eoscast_worker::cli::run(&eoscast_worker::cli::Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
