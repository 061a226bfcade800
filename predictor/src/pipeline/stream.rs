//! What goes through one stream: the weight of its messages, and what they are answered with.

use eoscast_proto::domain::{LengthEstimate, LengthPrior, StepBatch};

/// Largest weight of the messages of one stream that are not acknowledged yet.
pub(crate) const MOST_UNACKNOWLEDGED: usize = 4_096;

/// Entries of a message that weigh as much as the message itself.
const ENTRIES_PER_WEIGHT: usize = 64;

/// What a message counts against [`MOST_UNACKNOWLEDGED`]: 1, and 1 more for each 64 events and other entries.
pub(crate) fn weight(batch: &StepBatch) -> u32 {
    let entries = batch.started.len() + batch.events.len() + batch.ended.len();
    // Messages have at most a few thousand entries.
    1 + u32::try_from(entries / ENTRIES_PER_WEIGHT).unwrap_or(u32::MAX / 2)
}

/// What a message, or a change of the prior, is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the requests of one message.
    pub(crate) estimates: Vec<LengthEstimate>,
    /// When it is new.
    pub(crate) prior: Option<LengthPrior>,
}

/// How far the messages of a stream are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Every message up to this one is processed, and written if `logged`.
    pub(crate) acknowledged: u64,
    /// Whether they are in the log.
    pub(crate) logged: bool,
    /// Weight of all messages of the stream that are processed.
    pub(crate) weight: u64,
}
