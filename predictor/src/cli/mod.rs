//! Command lines.

mod replay;
mod serve;

use clap::{Parser, Subcommand};
use eoscast_cli::CommandLine;

/// Forecasts how many tokens each live request of a language model will still generate.
///
/// Workers stream one message per engine step; the predictor logs the steps as JSON lines and answers with a distribution over
/// the remaining length of every request.
#[derive(Debug, Parser)]
#[command(name = "eoscast-predictor", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eoscast-predictor serve
  eoscast-predictor serve --listen 0.0.0.0:50052 --data-dir /var/lib/eoscast --fsync batch
  EOSCAST_ENABLE_EOS_PROB_LOGGING=false eoscast-predictor serve
  eoscast-predictor replay data/predictor

Every option of serve can be set by the environment variable shown beside it. RUST_LOG=debug shows more of what happens.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Replay(replay::ReplayArgs),
}

impl CommandLine for Cli {
    fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => args.run(),
            Command::Replay(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_every_command_has_an_environment_variable() {
        assert_eq!(eoscast_cli::flags_without_variable::<Cli>(), Vec::<String>::new());
    }
}
