//! Command lines.

mod replay;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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

impl Cli {
    /// Does what the command line says and gives the exit code.
    ///
    /// # Errors
    /// When it cannot be done; the error says why and what to change.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(args) => args.run(),
            Command::Replay(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_of_every_command_has_an_environment_variable() {
        let cli = Cli::command();
        for command in cli.get_subcommands().chain([&cli]) {
            for flag in command.get_opts() {
                let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(variable.starts_with("EOSCAST_"), "{} --{}", command.get_name(), flag.get_id());
            }
        }
    }
}
