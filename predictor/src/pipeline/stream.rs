//! What goes through one stream: the weight of its messages, and what they are answered with.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use eoscast_proto::domain::{LengthEstimate, LengthPrior, StepBatch};
use eoscast_proto::status::ServiceError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most that one stream may have outstanding, in bytes: messages whose acknowledgement its worker has not taken. Workers that keep
/// to the contract stay far below.
pub(super) const MOST_OF_STREAM: u64 = 64 << 20;
/// The same of all streams together. Beyond it the stream that has most is ended.
pub(super) const MOST_OF_ALL: u64 = 128 << 20;
/// Beyond this of all streams together, one that has more than its share of it is not read until its worker has taken
/// acknowledgements: where the log is behind, many workers that keep to the contract have too much together.
pub(super) const MUCH_OF_ALL: u64 = 64 << 20;

/// What an entry takes beside its bytes on the wire: its line until that is written, and its estimate until that is sent.
const ENTRY_BYTES: usize = 512;

/// What a message counts against the bounds, in bytes.
pub(super) fn weight(batch: &StepBatch) -> u64 {
    (batch.wire_bytes() + ENTRY_BYTES * batch.entries()) as u64
}

/// What one stream has outstanding, and how it ends. Shared by all who work for it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Weight of the messages whose acknowledgement has gone out.
    released: AtomicU64,
    /// Wakes the one who waits for acknowledgements to go out.
    taken: Notify,
    error: OnceLock<ServiceError>,
    cut: CancellationToken,
}

impl Account {
    /// Notes that the messages up to this total weight are acknowledged, and that the acknowledgement has gone out.
    pub(crate) fn release(&self, weight: u64) {
        self.released.fetch_max(weight, Ordering::Relaxed);
        self.taken.notify_one();
    }

    /// Waits until an acknowledgement has gone out since the last time.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    pub(super) fn outstanding(&self, weight: u64) -> u64 {
        weight.saturating_sub(self.released.load(Ordering::Relaxed))
    }

    /// Says what the stream ends with; the first to say so counts.
    pub(crate) fn fail(&self, error: ServiceError) {
        let _ = self.error.set(error);
    }

    /// Ends the stream at once, without what is still to be sent.
    pub(super) fn cut(&self, error: ServiceError) {
        self.fail(error);
        self.cut.cancel();
    }

    /// What the stream ends with; in peace if `None`.
    pub(crate) fn error(&self) -> Option<ServiceError> {
        self.error.get().cloned()
    }

    /// Does `work` until it is done or the stream is cut.
    pub(crate) async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cut.run_until_cancelled(work).await
    }
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
