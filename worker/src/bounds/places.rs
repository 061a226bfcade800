//! Places of which there are so many, shared fairly among clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::client::ClientKey;
use super::fair_queue::{FairQueue, PlaceId};

/// All places. A request holds one from its submission to its first step; a stream of load reports, as long as it lasts.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<FairQueue<Lost>>>);

/// Cancelled when a place goes to another client.
type Lost = CancellationToken;

/// One place; dropping it makes it free.
pub(crate) struct Place {
    places: Places,
    client: ClientKey,
    id: PlaceId,
    lost: Lost,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(FairQueue::new(count))))
    }

    /// Takes so many places, or none if there are not enough for `client`. Also how many others lost theirs.
    pub(crate) fn take(&self, client: ClientKey, count: usize) -> Option<(Vec<Place>, usize)> {
        let lost: Vec<Lost> = (0..count).map(|_| Lost::new()).collect();
        let let_in = self.lock().push(client, lost.clone()).ok()?;
        // It wakes who waits for it, for which the lock is free.
        let_in.evicted.iter().for_each(Lost::cancel);
        let place = |(id, lost)| Place { places: self.clone(), client, id, lost };
        Some((let_in.places.into_iter().zip(lost).map(place).collect(), let_in.evicted.len()))
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<Lost>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it went to another client, so that its holder has to go.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Cancelled when that happens.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.client, self.id);
    }
}
