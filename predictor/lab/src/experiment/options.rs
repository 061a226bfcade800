//! The command line of the experiment.

use std::path::PathBuf;

use crate::simulation::sweep::NamedPolicy;
use anyhow::ensure;
use clap::Args;
use eoscast_sched::SchedulerConfig;

/// The worker's defaults, which the simulator has to know.
const BLOCK_SIZE: u32 = 16;
const MAX_BATCHED_TOKENS: u32 = 256;

/// The rules of vLLM, TGI, SGLang and LightLLM; of LTR and TRAIL; ours: the default, with admission by risk, and without a bound on
/// waiting; and what true lengths allow.
const POLICIES: &str = "fcfs+aggressive,fcfs+conservative,fcfs+new-token-ratio,fcfs+past-future,sjf-pred,srpt-pred,\
    boost+peak(0.8)+least-cost,boost+risk+least-cost,srpt-pred(0)+peak(0.8)+least-cost,srpt-oracle+oracle-peak";

/// Compares scheduling policies on the real worker with the real predictor, both fresh for each run, under Poisson load.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  eoscast-worker bench --fit-cost cost.json\n  \
        eoscast-lab experiment --prompts prompts.jsonl --cost cost.json --out experiment")]
pub(crate) struct ExperimentOptions {
    /// Prompts, one JSON object a line: prompt and, if known, id and task. The shipped predictor should not have been trained on them.
    #[arg(long, env = "EOSCAST_PROMPTS", value_name = "FILE")]
    pub(crate) prompts: PathBuf,
    /// Requests of each run, drawn from the prompts by the seed.
    #[arg(long, env = "EOSCAST_REQUESTS", help_heading = "Trace and load", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) requests: u32,
    /// Decides prompts, replies and arrivals.
    #[arg(long, env = "EOSCAST_SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Sampling temperature.
    #[arg(long, env = "EOSCAST_TEMPERATURE", default_value_t = 0.8)]
    pub(crate) temperature: f32,
    /// Most tokens of a reply.
    #[arg(long, env = "EOSCAST_MAX_TOKENS", help_heading = "Trace and load", default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// KV budget in tokens.
    #[arg(long, env = "EOSCAST_KV_TOKENS", help_heading = "Engine", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..=1 << 24))]
    pub(crate) kv_tokens: u32,
    /// Most requests in the running batch.
    #[arg(long, env = "EOSCAST_MAX_RUNNING", help_heading = "Engine", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) max_running: u32,
    /// Loads: the share of time that the engine would need with full batches.
    #[arg(long, env = "EOSCAST_LOAD", help_heading = "Trace and load", value_name = "RHO,...", value_delimiter = ',', default_value = "0.9", value_parser = load)]
    pub(crate) rho: Vec<f64>,
    /// Runs of each policy at each load, each with arrivals of its own that all policies meet.
    #[arg(long, env = "EOSCAST_ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Policies to compare, as order+admission+victim; one that wants true lengths gets them.
    #[arg(long, env = "EOSCAST_POLICIES", help_heading = "Policies and forecasts", value_name = "NAME,...", value_delimiter = ',', default_value = POLICIES)]
    pub(crate) policy: Vec<NamedPolicy>,
    /// What a step costs on this machine, from `eoscast-worker bench --fit-cost FILE`; the first pass corrects all prices alike.
    #[arg(long, env = "EOSCAST_COST", help_heading = "Engine", value_name = "FILE")]
    pub(crate) cost: PathBuf,
    /// A GGUF file or a model name.
    #[arg(long, env = "EOSCAST_MODEL", default_value = "smollm2-135m")]
    pub(crate) model: String,
    /// Folder for the report, figures, and runs.jsonl: all requests of all runs, with which an interrupted experiment goes on, and one with
    /// more policies, loads or rounds makes only these.
    #[arg(long, env = "EOSCAST_OUT", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Print one JSON object instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    pub(crate) json: bool,
}

fn load(text: &str) -> Result<f64, String> {
    let load = text.trim().parse().ok().filter(|rho: &f64| rho.is_finite() && *rho > 0.0);
    load.ok_or_else(|| "must be a load above 0, like 0.9".to_owned())
}

impl ExperimentOptions {
    /// The engine's limits.
    pub(crate) fn config(&self) -> SchedulerConfig {
        SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks: self.kv_tokens / BLOCK_SIZE,
            max_running: self.max_running,
            max_batched_tokens: MAX_BATCHED_TOKENS,
        }
    }

    /// # Errors
    /// Two policies are the same.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (i, NamedPolicy { name, policy }) in self.policy.iter().enumerate() {
            ensure!(!self.policy[..i].iter().any(|other| other.policy == *policy), "--policy: {name} is there twice");
        }
        Ok(())
    }
}

#[cfg(test)]
impl ExperimentOptions {
    /// The options that these arguments give, beside those that must be there.
    pub(crate) fn for_test(args: &[&str]) -> Result<Self, clap::Error> {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            options: ExperimentOptions,
        }
        let given = ["experiment", "--prompts", "p.jsonl", "--cost", "c.json", "--out", "o"];
        <Alone as clap::Parser>::try_parse_from(given.iter().chain(args)).map(|alone| alone.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<ExperimentOptions, clap::Error> {
        ExperimentOptions::for_test(args)
    }

    #[test]
    fn the_default_policies_are_ten_and_different() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.policy.len(), 10);
        options.check().unwrap();
        assert_eq!(options.policy.iter().filter(|named| named.policy.wants_truth()).count(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let twice = parse(&["--policy", "fcfs,fcfs+aggressive"]).unwrap().check().unwrap_err().to_string();
        assert!(twice.contains("--policy: fcfs+aggressive is there twice"), "{twice}");
        for (option, value) in [("--rho", "0"), ("--policy", "fifo"), ("--requests", "0"), ("--kv-tokens", "8")] {
            let error = parse(&[option, value]).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
