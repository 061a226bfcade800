//! The worker's command line.

mod bench;
mod collect;
mod device;
mod engine_args;
mod fit_cost;
mod generate;
mod interrupt;
mod local_engine;
mod model_args;
mod predictor_cost;
mod score;
mod serve;
mod signal_args;
mod step_time;

use std::io::IsTerminal;

use clap::{Parser, Subcommand, ValueEnum};

/// Runs language models, streams their end-of-sequence signals to a predictor, and schedules by its forecasts.
#[derive(Debug, Parser)]
#[command(name = "eoscast-worker", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of the logs on stderr; RUST_LOG sets what is logged, e.g. RUST_LOG=debug.
    #[arg(long, env = "EOSCAST_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Generate over gRPC, and health and metrics over HTTP.
    #[command(after_help = "Example:\n  eoscast-worker serve --kv-tokens 8192 --policy 'srpt-pred+peak(0.9)'\n  \
        grpcurl -plaintext -d '{\"text\":\"Once upon a time\"}' 127.0.0.1:50051 \
        eoscast.worker.v1.WorkerService/Generate")]
    Serve(Box<serve::ServeArgs>),
    /// Print one reply, with a bar that shows its forecast.
    Generate(Box<generate::GenerateArgs>),
    /// Print the model's log-probabilities of given replies, or write them as an event log.
    Score(Box<score::ScoreArgs>),
    /// Run prompts through the model and write the event log that predictors learn from.
    #[command(
        // There is no forecast to schedule by, and what is collected is to be complete.
        mut_arg("policy", |arg| arg.default_value("fcfs+aggressive+lifo")),
        after_help = "Example:\n  eoscast-worker collect --prompts prompts.jsonl --out data/collected --samples 2\n  \
            eoscast-worker collect --prompts prompts.jsonl --out data/collected --samples 2 --resume"
    )]
    Collect(Box<collect::CollectArgs>),
    /// Measure tokens per second and where the time of a step goes.
    Bench(Box<bench::BenchArgs>),
}

/// Runs the chosen command.
///
/// # Errors
/// What the command reports.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    // A command that ends by itself shows its own progress.
    let quiet = !matches!(cli.command, Command::Serve(_));
    init_logging(cli.log_format, if quiet { "warn" } else { "info" });
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Score(args) => score::run(args),
        Command::Collect(args) => collect::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

fn init_logging(format: LogFormat, default_level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
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
