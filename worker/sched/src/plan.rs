//! What the engine gets for a step, and what it gives back.

use crate::view::RequestKey;

/// The work of one engine step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// What to compute: decodes first, then prefill chunks in running order.
    pub work: Vec<Work>,
    /// Requests that joined the running batch in this step, first or again; each has work.
    pub admitted: Vec<RequestKey>,
    /// Requests that left the running batch: their KV entries are gone, their tokens are kept.
    pub preempted: Vec<RequestKey>,
}

/// Known tokens of one request to compute in this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The request.
    pub key: RequestKey,
    /// First position to compute.
    pub start: u32,
    /// Number of positions, at least 1.
    pub tokens: u32,
    /// Whether the last known token is among them, so that a new one is sampled.
    pub samples: bool,
}

/// What became of a plan. Work that is left out (say, of a request aborted meanwhile) counts as not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepOutcome {
    /// One entry per work item done.
    pub work: Vec<WorkDone>,
}

/// What became of one work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkDone {
    /// The request.
    pub key: RequestKey,
    /// New tokens: 0 for a prefill chunk that does not sample, else at least 1.
    pub appended: u32,
    /// Whether the request ended; reaching `max_tokens` ends it in any case.
    pub finished: bool,
}
