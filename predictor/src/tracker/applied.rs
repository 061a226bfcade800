//! [`Applied`]: what one message led to.

use eoscast_log::record::Lines;
use eoscast_proto::domain::LengthEstimate;

use super::worker::StreamId;

/// What one message led to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Of requests that started or took a step, and go on.
    pub estimates: Vec<LengthEstimate>,
    /// To be written before the message is acknowledged.
    pub lines: Lines,
    /// Every message of this run up to here is applied.
    pub acknowledged: u64,
    /// What was out of the ordinary.
    pub tally: Tally,
    /// An older stream of the same worker, to be ended.
    pub superseded: Option<StreamId>,
}

/// Out-of-the-ordinary things that are tolerated and counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages seen before.
    pub duplicate_messages: u64,
    /// Messages that were skipped by the worker's numbering.
    pub missing_messages: u64,
    /// Events of steps that were seen before; not applied.
    pub duplicate_steps: u64,
    /// Events that do not follow the step before; applied at their own step.
    pub step_gaps: u64,
    /// Events and ends of requests that are not live; not applied.
    pub unknown_requests: u64,
}
