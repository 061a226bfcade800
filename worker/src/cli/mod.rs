//! The worker's command line.

mod model;
mod score;

use clap::{Parser, Subcommand};

pub use model::{ComputeArg, ModelArgs};
pub use score::ScoreArgs;

/// Runs language models and forecasts when their replies end.
#[derive(Debug, Parser)]
#[command(name = "eoscast-worker", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the model's log-probabilities of given replies.
    Score(ScoreArgs),
}

/// Runs the chosen command.
///
/// # Errors
/// What the command reports.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Score(args) => score::run(args),
    }
}
