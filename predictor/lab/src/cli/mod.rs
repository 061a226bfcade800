//! Command lines.

mod analyze;
mod estimate;
mod evaluate;
mod experiment;
mod load;
mod past_future_ae;
mod simulate;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
  eoscast-lab evaluate --data data/collected --artifact survival.safetensors
  eoscast-lab analyze --data data/predictor --out report
  eoscast-lab simulate --trace azure.csv --policy fcfs,srpt --predictor oracle-noise:0.5 --poisson 0.5,0.9 --out plots
  eoscast-lab load --data data/predictor --rate 20000

Every option can be set by the environment variable shown beside it.";

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Analyze(analyze::AnalyzeArgs),
    Estimate(estimate::EstimateArgs),
    #[command(
        after_help = "Example:\n  eoscast-lab simulate --trace azure.csv --policy fcfs,fcfs+conservative,srpt \\\n    \
        --predictor oracle-noise:0.5 --poisson 0.5,0.9 --kv-tokens 16384 --out plots"
    )]
    Simulate(Box<simulate::SimulateArgs>),
    Load(load::LoadArgs),
    Experiment(Box<crate::serving::options::Options>),
}

impl Cli {
    /// Does what the command line says and gives the exit code.
    ///
    /// # Errors
    /// When it cannot be done; the error says why and what to change.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Train(args) => args.run(),
            Command::Evaluate(args) => args.run(),
            Command::Analyze(args) => args.run(),
            Command::Estimate(args) => args.run(),
            Command::Simulate(args) => simulate::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Load(args) => args.run(),
            Command::Experiment(options) => experiment::run(&options).map(|()| ExitCode::SUCCESS),
        }
    }
}
