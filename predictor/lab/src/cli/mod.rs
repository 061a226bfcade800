//! The commands: each file parses, calls and prints.

mod analyze;
mod dataset;
mod estimate;
mod evaluate;
mod experiment;
mod export;
mod load;
mod simulate;
mod train;

use clap::{Parser, Subcommand};
use eoscast_cli::CommandLine;

/// Trains and judges forecasts of remaining length, simulates schedulers, and measures the running pair.
#[derive(Debug, Parser)]
#[command(name = "eoscast-lab", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eoscast-lab train --data data/collected --model survival --out survival.safetensors
  eoscast-lab evaluate --data data/collected
  eoscast-lab analyze --data data/predictor --out report
  eoscast-lab export --data data/predictor --out log.parquet
  eoscast-lab simulate --trace azure.csv --policy fcfs,srpt --predictor oracle-noise:0.5 --poisson 0.5,0.9 --out plots

Every option can be set by the environment variable shown beside it. `eoscast-lab help COMMAND` explains a command.";

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Analyze(analyze::AnalyzeArgs),
    Estimate(estimate::EstimateArgs),
    Export(export::ExportArgs),
    #[command(
        after_help = "Example:\n  eoscast-lab simulate --trace azure.csv --policy fcfs,fcfs+conservative,srpt \\\n    \
        --predictor oracle-noise:0.5 --poisson 0.5,0.9 --kv-tokens 16384 --out plots"
    )]
    Simulate(Box<simulate::SimulateArgs>),
    Load(load::LoadArgs),
    Experiment(Box<crate::experiment::options::ExperimentOptions>),
}

impl CommandLine for Cli {
    fn log_level(&self) -> &'static str {
        // Commands show their own progress. usvg warns of every bar without a width.
        "warn,usvg=error"
    }

    fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Train(args) => args.run(),
            Command::Evaluate(args) => args.run(),
            Command::Analyze(args) => args.run(),
            Command::Estimate(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Simulate(args) => simulate::run(&args),
            Command::Load(args) => args.run(),
            Command::Experiment(options) => experiment::run(&options),
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
