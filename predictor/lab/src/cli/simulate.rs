//! `simulate`: policies compared in virtual time, over a trace.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{ArgAction, Args, ValueEnum};
use eoscast_cli::progress::Progress;
use eoscast_sched::SchedulerConfig;
use eoscast_sim::{CostModel, ForecastSource};

use crate::simulation::sweep::{Load, NamedPolicy, Sweep};
use crate::simulation::trace_log::LogTrace;
use crate::simulation::{past_future_ae, plots, table};
use eoscast_sim::cost_file::read_cost;
use eoscast_sim::trace_file::read_trace;

/// Options of `simulate`.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Requests: a CSV file with arrival_s,prompt_tokens,output_tokens, or the folder (or .jsonl file) of an event log.
    #[arg(
        long,
        env = "EOSCAST_TRACE",
        help_heading = "Trace and load",
        value_name = "FILE|FOLDER",
        required_unless_present = "preset"
    )]
    trace: Option<PathBuf>,
    /// Policies to compare, as order+admission+victim.
    #[arg(long, env = "EOSCAST_POLICIES", help_heading = "Policies and forecasts", value_name = "NAME,...", value_parser = policies,
        default_value = "fcfs,fcfs+past-future,boost+peak+least-cost")]
    policy: Policies,
    /// Where forecasts come from: none, prior, oracle, oracle-noise:CV, oracle-noise:CV:drifting [default: the estimates
    /// in the log; prior for a CSV file].
    #[arg(
        long,
        env = "EOSCAST_FORECASTS",
        help_heading = "Policies and forecasts",
        value_name = "NAME",
        conflicts_with = "estimates"
    )]
    predictor: Option<ForecastSource>,
    /// An event log whose estimates are seen instead, found by request id.
    #[arg(long, env = "EOSCAST_ESTIMATES", help_heading = "Policies and forecasts", value_name = "FOLDER")]
    estimates: Option<PathBuf>,
    /// Scale the recorded arrivals to so many requests a second.
    #[arg(long, env = "EOSCAST_RATE", help_heading = "Trace and load", value_name = "RATE", conflicts_with_all = ["load", "poisson"], value_parser = rate)]
    rate: Option<Load>,
    /// Scale the recorded arrivals to these loads (the share of time that full batches would need), or rates as RATE/s.
    #[arg(
        long,
        env = "EOSCAST_LOAD",
        help_heading = "Trace and load",
        value_name = "RHO,...",
        value_delimiter = ',',
        conflicts_with = "poisson"
    )]
    load: Vec<Load>,
    /// The same with Poisson arrivals and requests in random order.
    #[arg(
        long,
        env = "EOSCAST_POISSON",
        help_heading = "Trace and load",
        value_name = "RHO|RATE/s,...",
        value_delimiter = ','
    )]
    poisson: Vec<Load>,
    /// Requests of each run: drawn with Poisson arrivals, else a stretch of the trace.
    #[arg(long, env = "EOSCAST_REQUESTS", help_heading = "Trace and load", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Runs of each policy at each load.
    #[arg(long, env = "EOSCAST_SEEDS", help_heading = "Trace and load", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// KV budget in tokens.
    #[arg(long, env = "EOSCAST_KV_TOKENS", help_heading = "Engine", default_value_t = 32_768)]
    kv_tokens: u32,
    /// Tokens per KV block.
    #[arg(long, env = "EOSCAST_BLOCK_SIZE", help_heading = "Engine", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    block_size: u32,
    /// Most requests in the running batch.
    #[arg(long, env = "EOSCAST_MAX_RUNNING", help_heading = "Engine", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_running: u32,
    /// Most tokens computed in a step.
    #[arg(long, env = "EOSCAST_MAX_BATCHED_TOKENS", help_heading = "Engine", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_batched_tokens: u32,
    /// Most tokens of a reply; longer ones are cut [default: as logged; the longest reply of a CSV file].
    #[arg(long, env = "EOSCAST_MAX_TOKENS", help_heading = "Trace and load", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// How long steps take: worker (this worker with its default model on two CPU cores), h100 (Llama 2 70B on two H100), or
    /// a JSON file from `bench --fit-cost`.
    #[arg(
        long,
        env = "EOSCAST_COST",
        help_heading = "Engine",
        default_value = "worker",
        value_name = "worker|h100|FILE"
    )]
    cost: String,
    /// Whether a preempted request may find KV blocks again that nobody needed meanwhile, as the worker lets it.
    #[arg(long, env = "EOSCAST_PREFIX_CACHE", help_heading = "Engine", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    prefix_cache: bool,
    /// Folder for figures as SVG, the table and every run as JSON.
    #[arg(long, env = "EOSCAST_OUT", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
    /// A published experiment with its own trace, engine and policies; of the other options only --seeds and --json count.
    #[arg(long, env = "EOSCAST_PRESET", value_enum)]
    preset: Option<Preset>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// The simulator in the artefact of "Past-Future Scheduler for LLM Serving under SLA Guarantees" (ASPLOS'25).
    PastFutureAe,
}

#[derive(Debug, Clone)]
struct Policies(Vec<NamedPolicy>);

/// A list separated by commas, save those within parentheses.
fn policies(list: &str) -> Result<Policies, eoscast_sched::PolicyError> {
    let mut depth = 0;
    let separates = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    list.split(separates).map(str::parse).collect::<Result<_, _>>().map(Policies)
}

fn rate(text: &str) -> Result<Load, String> {
    format!("{}/s", text.strip_suffix("/s").unwrap_or(text)).parse()
}

/// Simulates every policy at every load with every seed.
pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    if let Some(Preset::PastFutureAe) = args.preset {
        return repeat_past_future_ae(args.seeds, args.json);
    }
    let mut sweep = args.sweep()?;
    let refused = sweep.fit_to_budget()?;
    if refused > 0 {
        eprintln!("simulating: {refused} requests of the trace do not fit the KV budget and are left out");
    }
    let bar = Progress::requests("simulating", sweep.total_requests());
    let outcomes = sweep.run(&|ended| bar.add(ended))?;
    bar.finish();
    let (json, text) = (table::json(&sweep, &outcomes)?, table::text(&sweep, &outcomes));
    if let Some(folder) = &args.out {
        let mut paths = plots::draw(&sweep, &outcomes, folder)?;
        for (name, contents) in [("runs.json", &json), ("table.txt", &text)] {
            paths.push(folder.join(name));
            std::fs::write(folder.join(name), contents).with_context(|| format!("cannot write {name}"))?;
        }
        eprintln!("wrote {} files to {}", paths.len(), folder.display());
    }
    print(args.json, &json, &text)
}

fn repeat_past_future_ae(seeds: u32, as_json: bool) -> anyhow::Result<()> {
    let bar = Progress::requests("repeating", past_future_ae::runs(seeds));
    let report = past_future_ae::run(seeds, &|| bar.add(1));
    bar.finish();
    print(as_json, &serde_json::to_string(&report)?, &report.text())
}

fn print(as_json: bool, json: &str, text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match as_json {
        true => writeln!(out, "{json}")?,
        false => write!(out, "{text}")?,
    }
    Ok(())
}

impl SimulateArgs {
    fn sweep(&self) -> anyhow::Result<Sweep> {
        ensure!(
            self.kv_tokens >= self.block_size,
            "--kv-tokens: {} hold no block of --block-size {}",
            self.kv_tokens,
            self.block_size
        );
        // clap asks for it where there is no preset.
        let Some(path) = &self.trace else { bail!("--trace: name a file or a folder") };
        let is_log = path.is_dir() || path.extension().is_some_and(|extension| extension == "jsonl");
        let (trace, predictor) = match (is_log, &self.estimates) {
            (true, estimates) => {
                let log = LogTrace::read(path, self.max_tokens)?;
                let predictor = match &self.predictor {
                    Some(predictor) => predictor.clone(),
                    None => ForecastSource::Recorded(Arc::new(log.estimates(estimates.as_ref().unwrap_or(path))?)),
                };
                (log.requests, predictor)
            }
            (false, Some(_)) => {
                bail!("--estimates: a CSV trace has no request ids to find them by; give a log as --trace")
            }
            (false, None) => {
                (read_trace(path, self.max_tokens)?, self.predictor.clone().unwrap_or(ForecastSource::Prior))
            }
        };
        let poisson = !self.poisson.is_empty();
        let mut loads = if poisson { self.poisson.clone() } else { self.load.clone() };
        loads.extend(self.rate);
        if loads.is_empty() {
            loads.push(Load::Recorded);
        }
        Ok(Sweep {
            trace,
            requests: self.requests as usize,
            poisson,
            loads,
            policies: self.policy.0.clone(),
            seeds: self.seeds.into(),
            predictor,
            config: SchedulerConfig {
                block_size: self.block_size,
                num_blocks: self.kv_tokens / self.block_size,
                max_running: self.max_running,
                max_batched_tokens: self.max_batched_tokens,
            },
            cost: match self.cost.as_str() {
                "worker" => CostModel::WORKER,
                "h100" => CostModel::H100,
                file => read_cost(file.as_ref())?,
            },
            prefix_cache: self.prefix_cache,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_split_at_commas_outside_parentheses() {
        let names =
            |list| policies(list).map(|Policies(all)| all.into_iter().map(|named| named.name).collect::<Vec<_>>());
        assert_eq!(names("fcfs, srpt-pred+peak(0.9)").unwrap(), ["fcfs", "srpt-pred+peak(0.9)"]);
        assert!(names("fcfs,").is_err());
        assert!(names("f(1,2)").unwrap_err().to_string().contains("f(1,2)"));
    }

    #[test]
    fn a_rate_is_requests_a_second() {
        assert_eq!((rate("2.5"), rate("2.5/s")), (Ok(Load::Rate(2.5)), Ok(Load::Rate(2.5))));
        assert!(rate("-1").is_err());
    }
}
