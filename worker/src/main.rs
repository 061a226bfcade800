//! The worker binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    eoscast_cli::main::<eoscast_worker::cli::Cli>(option_env!("EOSCAST_COMMIT"))
}
