//! What the engine and the connection to the predictor share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use eoscast_proto::domain::WorkerRun;
use tokio::sync::Notify;

use super::estimates::EstimateTable;
use super::outbox::Outbox;

/// Outgoing batches, incoming estimates, and whether there is a stream. No call waits for the network.
pub(super) struct LinkState {
    outbox: Mutex<Outbox>,
    estimates: Mutex<EstimateTable>,
    /// Wakes the connection: a batch may go out.
    pub(super) may_send: Notify,
    connected: AtomicBool,
    streams_opened: AtomicU64,
}

impl LinkState {
    pub(super) fn new(run: WorkerRun) -> Self {
        Self {
            outbox: Mutex::new(Outbox::new(run)),
            estimates: Mutex::default(),
            may_send: Notify::new(),
            connected: AtomicBool::new(false),
            streams_opened: AtomicU64::new(0),
        }
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn estimates(&self) -> MutexGuard<'_, EstimateTable> {
        // A panic elsewhere leaves a table that is at worst out of date.
        self.estimates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn streams_opened(&self) -> u64 {
        self.streams_opened.load(Ordering::Relaxed)
    }

    pub(super) fn on_connected(&self) {
        self.outbox().on_connected();
        self.connected.store(true, Ordering::Relaxed);
        self.streams_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_disconnected(&self) {
        self.connected.store(false, Ordering::Relaxed);
    }
}
