//! Places in the queue, shared fairly among clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bounds::{ClientKey, FairQueue, PlaceId};

/// All places. A request holds one from its submission to its first step.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<FairQueue<Lost>>>);

/// Whether a place went to another client.
type Lost = Arc<AtomicBool>;

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
        let lost: Vec<Lost> = (0..count).map(|_| Lost::default()).collect();
        let let_in = self.0.lock().unwrap_or_else(PoisonError::into_inner).push(client, lost.clone()).ok()?;
        for loser in &let_in.evicted {
            loser.store(true, Ordering::Relaxed);
        }
        let place = |(id, lost)| Place { places: self.clone(), client, id, lost };
        Some((let_in.places.into_iter().zip(lost).map(place).collect(), let_in.evicted.len()))
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Place {
    /// Whether it went to another client, so that the request has to go.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.client, self.id);
    }
}
