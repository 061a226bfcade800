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
    /// Bytes of replies that their clients have not read. One reply may use a quarter. When all is used, each client may still use 1/64,
    /// until as much again is used.
    pub most_unread_bytes: usize,
    /// Tokens after which an estimate is stale.
    pub estimate_max_age: u32,
    /// Whether requests with a common prefix share its KV blocks.
    pub prefix_cache: bool,
    /// Whether the predictor gets the text of prompts.
    pub prompt_text: bool,
    /// Whether step events carry how likely sentence ends and line breaks are.
    pub token_classes: bool,
}
