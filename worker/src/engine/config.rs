//! How the engine runs.

use eoscast_sched::{Policy, SchedulerConfig};

/// How the engine runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// Limits of a step and of the cache.
    pub scheduler: SchedulerConfig,
    /// Order, admission and victim.
    pub policy: Policy,
    /// Places in the queue.
    pub max_waiting: usize,
    /// Tokens after which an estimate is stale.
    pub estimate_max_age: u32,
    /// Whether requests with a common prefix share its KV blocks.
    pub prefix_cache: bool,
    /// Whether the predictor gets the text of prompts.
    pub prompt_text: bool,
    /// Whether step events carry how likely sentence ends and line breaks are.
    pub token_classes: bool,
}
