//! Counts of what the scheduler did.

/// Counts of the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests in the running batch.
    pub running: usize,
    /// Requests that wait, preempted ones among them.
    pub waiting: usize,
    /// KV blocks held by running requests; one that several share counts once.
    pub blocks_used: u32,
    /// KV blocks of the budget.
    pub blocks_total: u32,
    /// Preemptions since the start.
    pub preemptions_total: u64,
    /// Tokens planned again because preemption freed their KV entries, since the start.
    pub recomputed_tokens_total: u64,
    /// Admissions since the start; a preempted request counts again.
    pub admitted_total: u64,
    /// Tokens looked for in the prefix cache by admissions since the start, in full blocks.
    pub prefix_queries_total: u64,
    /// Those of them that were found, and so not computed.
    pub prefix_hits_total: u64,
}
