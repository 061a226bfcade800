//! The worker's command line.

mod bench;
mod bench_args;
mod bench_load;
mod collect;
mod device;
mod engine_args;
mod fit_cost;
mod generate;
mod health;
mod local_engine;
mod model_args;
mod predictor_cost;
mod score;
mod serve;
mod signal_args;
mod step_time;
mod template_arg;

use clap::{Parser, Subcommand};
use eoscast_cli::CommandLine;

/// Runs language models, streams their end-of-sequence signals to a predictor, and schedules by its forecasts.
#[derive(Debug, Parser)]
#[command(name = "eoscast-worker", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eoscast-worker serve
  eoscast-worker generate 'Why is the sky blue?'
  eoscast-worker bench --concurrency 1,16

Every option can be set by the environment variable shown beside it. `eoscast-worker help COMMAND` explains a command.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Generate over gRPC, and OpenAI's API, health and metrics over HTTP.
    #[command(after_help = "Example:\n  eoscast-worker serve --kv-tokens 8192 --policy 'srpt-pred+peak(0.9)'\n  \
        grpcurl -plaintext -d '{\"text\":\"Once upon a time\"}' 127.0.0.1:50051 \
        eoscast.worker.v1.WorkerService/Generate")]
    Serve(Box<serve::ServeArgs>),
    /// Ask a worker whether it serves: exit code 0 if it does. For containers without curl.
    #[command(after_help = "Example:\n  eoscast-worker health --address 127.0.0.1:50051")]
    Health(health::HealthArgs),
    /// Print one reply, with a bar that shows its forecast.
    #[command(after_help = "Examples:\n  eoscast-worker generate 'Why is the sky blue?'\n  \
        eoscast-worker generate 'Once upon a time' --raw --predictor none --seed 1 --json")]
    Generate(Box<generate::GenerateArgs>),
    /// Print the model's log-probabilities of given replies, or write them as an event log.
    #[command(after_help = "Examples:\n  eoscast-worker score --input replies.jsonl\n  \
        eoscast-worker score --input replies.jsonl --out data/scored\n\n\
        A line of replies.jsonl:\n  {\"id\": \"a\", \"prompt\": \"Hi\", \"input_ids\": [1, 15043], \"output_ids\": [6324, 2]}")]
    Score(Box<score::ScoreArgs>),
    /// Run prompts through the model and write the event log that predictors learn from.
    #[command(
        // There is no forecast to schedule by, and what is collected is to be complete.
        mut_arg("policy", |arg| arg.default_value("fcfs+aggressive+lifo")),
        after_help = "Examples:\n  eoscast-worker collect --prompts prompts.jsonl --out data/collected --samples 2\n  \
            eoscast-worker collect --prompts prompts.jsonl --out data/collected --samples 2 --resume\n\n\
            A line of prompts.jsonl:\n  {\"id\": \"p1\", \"task\": \"chat\", \"prompt\": \"Why is the sky blue?\"}"
    )]
    Collect(Box<collect::CollectArgs>),
    /// Measure tokens per second and where the time of a step goes.
    #[command(after_help = "Examples:\n  eoscast-worker bench --concurrency 1,16\n  \
        eoscast-worker bench --predictor 127.0.0.1:50052 --compare-predictor --repeats 20\n  \
        eoscast-worker bench --fit-cost cost.json")]
    Bench(Box<bench_args::BenchArgs>),
}

impl CommandLine for Cli {
    fn log_level(&self) -> &'static str {
        // A command that ends by itself shows its own progress.
        if matches!(self.command, Command::Serve(_)) { "info" } else { "warn" }
    }

    fn run(self) -> anyhow::Result<()> {
        match &self.command {
            Command::Serve(args) => serve::run(args),
            Command::Health(args) => health::run(args),
            Command::Generate(args) => generate::run(args),
            Command::Score(args) => score::run(args),
            Command::Collect(args) => collect::run(args),
            Command::Bench(args) => bench::run(args),
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

    #[test]
    fn a_value_that_no_run_could_use_is_an_error_of_usage() {
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["eoscast-worker"], arguments].concat());
        assert!(parse(&["bench", "--concurrency", "1,8"]).is_ok());
        assert!(parse(&["bench", "--concurrency", "1,0"]).is_err());
        assert!(parse(&["bench", "--compare-predictor", "--predictor", "http://127.0.0.1:1"]).is_ok());
        assert!(parse(&["bench", "--compare-predictor"]).is_err());
        assert!(parse(&["generate", ""]).is_err());
        assert!(parse(&["serve", "--max-connection-age", "5m"]).is_ok());
        assert!(parse(&["serve", "--max-connection-age", "0s"]).is_err());
        assert!(parse(&["serve", "--max-connection-age", "500000000000years"]).is_err());
    }
}
