//! The lab binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    eoscast_cli::main::<eoscast_lab::cli::Cli>(option_env!("EOSCAST_COMMIT"))
}
