//! How large step batches may be, and upper bounds of what they take on the wire: the contract's limits as both sides compute them.

use super::limits;
use super::{RequestEnded, RequestStarted, StepBatch, StepEvent};
use crate::transport::MAX_MESSAGE_BYTES;

/// Tags, lengths and numbers of one entry, at their longest. A test compares them with what is encoded.
const STARTED_BYTES: usize = 64;
const EVENT_BYTES: usize = 88;
const ENDED_BYTES: usize = 24;
/// The same of a message without entries.
const BATCH_BYTES: usize = 128;
/// Longest request or worker id, in bytes.
const ID_BYTES: usize = 128;
/// Longest character in UTF-8, in bytes.
const CHARACTER_BYTES: usize = 4;
/// Longest encoded token id.
const TOKEN_ID_BYTES: usize = 5;

impl StepBatch {
    /// Most entries of each kind: `started`, `events` and `ended`.
    pub const MOST_ENTRIES: usize = 4_096;
    /// Most bytes of a message that this side sends, by [`wire_bytes`](Self::wire_bytes).
    pub const MOST_BYTES: usize = MAX_MESSAGE_BYTES / 8 * 7;
    /// Most live requests that one worker tells of.
    pub const MOST_LIVE: usize = 8_192;

    /// At least the bytes of the message.
    pub fn wire_bytes(&self) -> usize {
        BATCH_BYTES
            + self.run.worker_id.as_str().len()
            + self.started.iter().map(RequestStarted::wire_bytes).sum::<usize>()
            + self.events.iter().map(StepEvent::wire_bytes).sum::<usize>()
            + self.ended.iter().map(RequestEnded::wire_bytes).sum::<usize>()
    }

    /// Number of its entries of all kinds.
    pub fn entries(&self) -> usize {
        self.started.len() + self.events.len() + self.ended.len()
    }
}

impl RequestStarted {
    /// Longest name of a model, in bytes.
    pub const MODEL_BYTES: usize = 256;
    /// Most ids of an EOS set.
    pub const EOS_IDS: usize = 64;
    /// Largest [`wire_bytes_without_prompt`](Self::wire_bytes_without_prompt).
    pub const MOST_BYTES_WITHOUT_PROMPT: usize = STARTED_BYTES
        + ID_BYTES
        + Self::MODEL_BYTES
        + TOKEN_ID_BYTES * Self::EOS_IDS
        + CHARACTER_BYTES * limits::TASK_CHARACTERS;
    /// Largest [`wire_bytes`](Self::wire_bytes).
    pub const MOST_BYTES: usize = Self::MOST_BYTES_WITHOUT_PROMPT + CHARACTER_BYTES * limits::PROMPT_CHARACTERS;

    /// At least its bytes in a message.
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes_without_prompt() + self.prompt.as_ref().map_or(0, String::len)
    }

    /// The same without the text of the prompt.
    pub fn wire_bytes_without_prompt(&self) -> usize {
        STARTED_BYTES
            + self.request_id.as_str().len()
            + self.model.len()
            + TOKEN_ID_BYTES * self.eos_token_ids.len()
            + self.task.as_ref().map_or(0, String::len)
    }
}

impl StepEvent {
    /// At least its bytes in a message.
    pub fn wire_bytes(&self) -> usize {
        EVENT_BYTES + self.request_id.as_str().len() + size_of_val(&*self.sketch)
    }
}

impl RequestEnded {
    /// Largest [`wire_bytes`](Self::wire_bytes).
    pub const MOST_BYTES: usize = ENDED_BYTES + ID_BYTES;

    /// At least its bytes in a message.
    pub fn wire_bytes(&self) -> usize {
        ENDED_BYTES + self.request_id.as_str().len()
    }
}
