//! Work of which only some runs at a time. Who waits for it waits in a [`FairQueue`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::client::ClientKey;
use super::fair_queue::{FairQueue, LetIn, PlaceId};

/// Slots for work.
#[derive(Clone)]
pub(crate) struct FairSlots(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// How many wait.
    waiting: Gauge,
}

struct State {
    free: usize,
    waiting: FairQueue<oneshot::Sender<Slot>>,
}

/// The right to work; dropping it lets the next one work.
pub(crate) struct Slot(Option<Arc<Shared>>);

/// Waits; dropping it gives the place in the queue back.
struct Waiter {
    shared: Arc<Shared>,
    client: ClientKey,
    place: PlaceId,
    granted: oneshot::Receiver<Slot>,
}

impl FairSlots {
    /// So many slots, and so many places to wait for them; `waiting` counts who waits.
    pub(crate) fn new(slots: usize, places: usize, waiting: Gauge) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State { free: slots, waiting: FairQueue::new(places) }), waiting }))
    }

    /// Waits for a slot. None if there is no place to wait, or another client got it.
    pub(crate) async fn acquire(&self, client: ClientKey) -> Option<Slot> {
        let mut waiter = match self.queue(client)? {
            Queued::Now(slot) => return Some(slot),
            Queued::Later(waiter) => waiter,
        };
        (&mut waiter.granted).await.ok()
    }

    fn queue(&self, client: ClientKey) -> Option<Queued> {
        let mut state = self.0.lock();
        if state.free > 0 {
            state.free -= 1;
            return Some(Queued::Now(Slot(Some(Arc::clone(&self.0)))));
        }
        let (grant, granted) = oneshot::channel();
        // Who is evicted sees its sender gone.
        let LetIn { places, evicted } = state.waiting.push(client, vec![grant]).ok()?;
        self.0.waiting.inc_by(1 - evicted.len() as i64);
        Some(Queued::Later(Waiter { shared: Arc::clone(&self.0), client, place: *places.first()?, granted }))
    }
}

enum Queued {
    Now(Slot),
    Later(Waiter),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let mut state = shared.lock();
            let Some(next) = state.waiting.pop() else {
                state.free += 1;
                return;
            };
            shared.waiting.dec();
            drop(state);
            match next.send(Self(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // Gone meanwhile: this slot must not let in a further one.
                Err(mut slot) => slot.0 = None,
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.shared.lock().waiting.remove(self.client, self.place).is_some() {
            self.shared.waiting.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::*;

    fn client(number: u8) -> ClientKey {
        IpAddr::from([10, 0, 0, number]).into()
    }

    async fn waits(slots: &FairSlots, number: u8) -> JoinHandle<Option<Slot>> {
        let (all, slots, before) = (slots.clone(), slots.clone(), slots.0.lock().waiting.len());
        let waiter = tokio::spawn(async move { slots.acquire(client(number)).await });
        while all.0.lock().waiting.len() == before {
            tokio::task::yield_now().await;
        }
        waiter
    }

    #[tokio::test]
    async fn those_who_wait_are_let_in_by_turns_of_their_clients() {
        let slots = FairSlots::new(1, 10, Gauge::default());
        let first = slots.acquire(client(1)).await;
        let (tell, mut told) = mpsc::channel(10);
        for number in [1, 1, 1, 2] {
            let (waiter, tell) = (waits(&slots, number).await, tell.clone());
            tokio::spawn(async move {
                let _slot = waiter.await.unwrap();
                tell.send(number).await.unwrap();
            });
        }
        drop((first, tell));
        let mut order = Vec::new();
        while let Some(number) = told.recv().await {
            order.push(number);
        }
        assert_eq!(order, [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn who_leaves_while_it_waits_gives_its_place_back() {
        let slots = FairSlots::new(1, 1, Gauge::default());
        let first = slots.acquire(client(1)).await.unwrap();
        let gone = waits(&slots, 1).await;
        assert_eq!(slots.0.waiting.get(), 1);
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(slots.0.waiting.get(), 0);
        let next = waits(&slots, 1).await;
        drop(first);
        assert!(next.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_goes_to_a_client_with_fewer_and_its_owner_is_refused() {
        let slots = FairSlots::new(1, 2, Gauge::default());
        let _first = slots.acquire(client(1)).await;
        let (_older, newer) = (waits(&slots, 1).await, waits(&slots, 1).await);
        assert!(slots.acquire(client(1)).await.is_none(), "the queue is full");
        let _other = tokio::spawn(async move { slots.acquire(client(2)).await });
        assert!(newer.await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_slot_is_free_again_when_all_who_waited_have_gone() {
        let slots = FairSlots::new(1, 4, Gauge::default());
        let first = slots.acquire(client(1)).await;
        let gone = waits(&slots, 1).await;
        gone.abort();
        let _ = gone.await;
        drop(first);
        assert!(slots.acquire(client(2)).await.is_some());
    }
}
