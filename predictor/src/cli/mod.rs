//! Command lines.

mod health;
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
  eoscast-predictor replay data/predictor

Every option can be set by the environment variable shown beside it. `eoscast-predictor help COMMAND` explains a command.";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "Examples:\n  eoscast-predictor serve\n  \
        eoscast-predictor serve --listen :50052 --data-dir /var/lib/eoscast --retention-bytes 64GB --fsync batch\n  \
        EOSCAST_ENABLE_EOS_PROB_LOGGING=false eoscast-predictor serve")]
    Serve(serve::ServeArgs),
    Health(health::HealthArgs),
    #[command(after_help = "Example:\n  eoscast-predictor replay data/predictor")]
    Replay(replay::ReplayArgs),
}

impl CommandLine for Cli {
    fn log_level(&self) -> &'static str {
        // A command that ends by itself shows its own progress.
        if matches!(self.command, Command::Serve(_)) { "info" } else { "warn" }
    }

    fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => args.run(),
            Command::Health(args) => args.run(),
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
