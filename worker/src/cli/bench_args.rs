//! Options of `bench`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use eoscast_cli::address::OptionalServer;

use super::engine_args::EngineArgs;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Numbers of streams at once, one run each.
    #[arg(long, env = "EOSCAST_CONCURRENCY", value_delimiter = ',', default_value = "1,8,16,32", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(super) concurrency: Vec<usize>,
    /// Tokens of each prompt; random ones, so that nothing can be reused.
    #[arg(long, env = "EOSCAST_PROMPT_TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) prompt_tokens: u32,
    /// Tokens of each reply; none ends early.
    #[arg(long, env = "EOSCAST_OUTPUT_TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) output_tokens: u32,
    /// Times each run is repeated; the median is reported.
    #[arg(long, env = "EOSCAST_REPEATS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeats: u32,
    /// A predictor that gets the step events, or none.
    #[arg(long, env = "EOSCAST_PREDICTOR", default_value = "none", value_name = "HOST:PORT|none")]
    pub(super) predictor: OptionalServer,
    /// Measure each run without the predictor too, in turn with it, and report what it costs. Loads the model twice.
    #[arg(long, env = "EOSCAST_COMPARE_PREDICTOR", requires = "predictor")]
    pub(super) compare_predictor: bool,
    /// Time single steps at these concurrencies, with prompts of many lengths, instead; fit what a step costs to them, and write
    /// the prices to this JSON file, which `simulate --cost` takes.
    #[arg(long, env = "EOSCAST_FIT_COST", value_name = "FILE", conflicts_with = "compare_predictor")]
    pub(super) fit_cost: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}
