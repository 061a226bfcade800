//! Options of the engine, its model among them.

use clap::{ArgAction, Args};
use eoscast_sched::{Policy, SchedulerConfig};

use super::model_args::ModelArgs;
use super::signal_args::SignalArgs;
use crate::engine::EngineConfig;
use crate::runner::ModelSpec;
use crate::runner::load::LoadedRunner;

/// One reply of 8,000 tokens with the 20 likeliest of each is 11 MB.
const MOST_UNREAD_BYTES: usize = 64 << 20;

/// Model, limits and policy of the engine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineArgs {
    /// KV budget in tokens, prompts and replies of all running requests together.
    #[arg(long, env = "EOSCAST_KV_TOKENS", default_value_t = 32_768)]
    kv_tokens: usize,
    /// Tokens per KV block, a multiple of 16.
    #[arg(long, env = "EOSCAST_BLOCK_SIZE", default_value_t = 16, value_parser = block_size)]
    block_size: u16,
    /// Scheduling policy as order+admission+victim, e.g. fcfs+aggressive+lifo (vLLM's) or srpt-pred+peak(0.9); eoscast-lab simulate compares them.
    #[arg(long, env = "EOSCAST_POLICY", default_value_t = Policy::default(), value_name = "NAME")]
    policy: Policy,
    /// Most requests in the running batch.
    #[arg(long, env = "EOSCAST_MAX_RUNNING", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_running: u32,
    /// Most requests in the queue, each choice of several by itself; further ones are refused with RESOURCE_EXHAUSTED.
    #[arg(long, env = "EOSCAST_MAX_WAITING", default_value_t = 1024)]
    max_waiting: usize,
    /// Most tokens computed in a step: decodes first, the rest is for prefill chunks.
    #[arg(long, env = "EOSCAST_MAX_BATCHED_TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_batched_tokens: u32,
    /// Tokens after which an estimate is stale, so that the scheduler falls back to the prior, then to max_tokens.
    #[arg(long, env = "EOSCAST_ESTIMATE_MAX_AGE", default_value_t = 32, value_name = "TOKENS")]
    estimate_max_age: u32,
    /// Whether requests with a common prefix share its KV blocks, and blocks that nobody uses are kept for the next.
    #[arg(long, env = "EOSCAST_PREFIX_CACHE", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    prefix_cache: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    signals: SignalArgs,
}

impl EngineArgs {
    /// Loads the model with its cache, showing a bar.
    pub(super) fn load(&self) -> anyhow::Result<LoadedRunner> {
        let model = self.model.load(self.kv_tokens, self.block_size.into())?;
        Ok(LoadedRunner { runner: model.runner.with_sketch(self.signals.sketch())?, ..model })
    }

    /// The engine's configuration for a loaded model.
    pub(super) fn config(&self, model: &ModelSpec) -> EngineConfig {
        EngineConfig {
            scheduler: SchedulerConfig {
                // The loader has checked that both fit.
                block_size: model.block_size as u32,
                num_blocks: model.num_blocks as u32,
                max_running: self.max_running,
                max_batched_tokens: self.max_batched_tokens,
            },
            policy: self.policy,
            max_waiting: self.max_waiting,
            most_unread_bytes: MOST_UNREAD_BYTES,
            estimate_max_age: self.estimate_max_age,
            prefix_cache: self.prefix_cache,
            prompt_text: self.signals.prompt_text,
            token_classes: self.signals.token_classes,
        }
    }
}

/// The attention kernel reads keys in strips of 16.
fn block_size(text: &str) -> Result<u16, String> {
    let size: u16 = text.parse().map_err(|_| "not a number up to 65535".to_owned())?;
    if size == 0 || !size.is_multiple_of(16) || size > 1024 {
        return Err("must be a multiple of 16, at most 1024".to_owned());
    }
    Ok(size)
}
