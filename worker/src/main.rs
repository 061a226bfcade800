//! The worker binary.

use clap::Parser;
use eoscast_worker::cli::{Cli, run};

fn main() -> anyhow::Result<()> {
    run(&Cli::parse())
}
