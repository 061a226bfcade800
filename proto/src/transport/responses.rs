//! The responses of one connection that may wait for their client.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one response that HTTP's buffers hold, and since when the client has taken none of them.
#[derive(Default)]
pub(super) struct Unsent {
    bytes: AtomicUsize,
    since: AtomicU64,
}

// Each time comes before its count, so that the sweep does not see an old time.
impl Unsent {
    /// HTTP got so many. Only the task of the response calls it.
    pub(super) fn on_handed_over(&self, bytes: usize, now: u64) {
        if self.bytes.load(Ordering::Acquire) == 0 {
            self.since.store(now, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes, Ordering::Release);
    }

    /// So many were sent.
    pub(super) fn on_taken(&self, bytes: usize, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Release);
    }

    /// Since when bytes wait and none are taken; `None` if none wait.
    fn since(&self) -> Option<u64> {
        (self.bytes.load(Ordering::Acquire) > 0).then(|| self.since.load(Ordering::Relaxed))
    }
}

/// What makes a response.
pub(super) trait GiveUp: Send + Sync {
    /// Drops it.
    fn give_up(&self);
}

/// What HTTP holds of a response, and what makes it.
type Watched = (Arc<Unsent>, Arc<dyn GiveUp>);

/// The responses of one connection of HTTP/2. One of them may wait while others go on, as behind a proxy.
#[derive(Default)]
pub(super) struct Responses(Mutex<Vec<Watched>>);

impl Responses {
    fn all(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, unsent: Arc<Unsent>, response: Arc<dyn GiveUp>) {
        self.all().push((unsent, response));
    }

    /// Forgets it, if it is there. They are as few as the streams of a connection.
    pub(super) fn remove(&self, unsent: &Arc<Unsent>) {
        let mut all = self.all();
        let removed = all.iter().position(|(other, _)| Arc::ptr_eq(other, unsent)).map(|at| all.swap_remove(at));
        // Dropping a response runs code of others, for which the lock is free.
        drop(all);
        drop(removed);
    }

    /// Gives up those of which bytes wait since a time of which `is_too_long` holds. How many they are.
    pub(super) fn give_up(&self, is_too_long: impl Fn(u64) -> bool) -> usize {
        let late =
            self.all().extract_if(.., |(unsent, _)| unsent.since().is_some_and(&is_too_long)).collect::<Vec<_>>();
        late.iter().for_each(|(_, response)| response.give_up());
        late.len()
    }
}
