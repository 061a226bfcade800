//! Which waiting requests the scheduler chooses from.
//!
//! The policy orders requests without regard to their clients, so a client that sends hundreds would make all others wait behind them.
//! While one client waits, the scheduler sees all its requests. While several do, it sees a few, dealt so that the client with the fewest
//! in the running batch and among those few gets the next; of equals, the one whose request is older. Nor may a client be more urgent
//! than the others: while there are several, a priority below 0 orders only the client's own requests.

use std::collections::{BTreeMap, HashMap};

use eoscast_sched::RequestKey;

use crate::bounds::ClientKey;

/// Requests that the scheduler sees while several clients wait.
const SEEN_OF_SEVERAL: usize = 16;

/// The waiting requests of each client.
#[derive(Default)]
pub(crate) struct Turns {
    clients: HashMap<ClientKey, Client>,
    has_changed: bool,
    unseen: usize,
}

#[derive(Default)]
struct Client {
    /// Requests that were admitted and have not ended.
    running: usize,
    /// Under which priority the scheduler sees a request, if it does. In the order in which they are dealt: by priority, then by age.
    waiting: BTreeMap<(i32, RequestKey), Option<i32>>,
}

/// A waiting or running request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) client: ClientKey,
    pub(crate) priority: i32,
    pub(crate) key: RequestKey,
}

/// What the scheduler sees from now on, and what no longer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Each with its priority.
    pub(crate) shown: Vec<(RequestKey, i32)>,
    pub(crate) hidden: Vec<RequestKey>,
}

impl Turns {
    /// A request waits, which the scheduler does not see yet.
    pub(crate) fn add(&mut self, Turn { client, priority, key }: Turn) {
        self.clients.entry(client).or_default().waiting.insert((priority, key), None);
        self.unseen += 1;
        self.has_changed = true;
    }

    /// A request is in the batch for the first time.
    pub(crate) fn admit(&mut self, turn: Turn) {
        if let Some(client) = self.clients.get_mut(&turn.client) {
            client.running += 1;
        }
        self.leave(turn);
    }

    /// A request has ended, waiting or running.
    pub(crate) fn end(&mut self, turn: Turn) {
        if !self.leave(turn)
            && let Some(client) = self.clients.get_mut(&turn.client)
        {
            client.running = client.running.saturating_sub(1);
        }
        if self.clients.get(&turn.client).is_some_and(|client| client.running == 0 && client.waiting.is_empty()) {
            self.clients.remove(&turn.client);
        }
    }

    /// Whether it was waiting.
    fn leave(&mut self, Turn { client, priority, key }: Turn) -> bool {
        self.has_changed = true;
        let seen = self.clients.get_mut(&client).and_then(|client| client.waiting.remove(&(priority, key)));
        self.unseen -= usize::from(seen == Some(None));
        seen.is_some()
    }

    /// Waiting requests that the scheduler does not see.
    pub(crate) fn unseen(&self) -> usize {
        self.unseen
    }

    /// Deals anew, if anything has changed since the last time.
    pub(crate) fn deal(&mut self) -> Changes {
        let mut changes = Changes::default();
        if !std::mem::take(&mut self.has_changed) {
            return changes;
        }
        let waiting = self.clients.iter().filter(|(_, client)| !client.waiting.is_empty());
        let mut shares: Vec<(ClientKey, usize)> = waiting.map(|(key, _)| (*key, 0)).collect();
        match &mut *shares {
            [] => return changes,
            [(_, all)] => *all = usize::MAX,
            several => self.share(several),
        }
        let most_urgent = if self.clients.len() > 1 { 0 } else { i32::MIN };
        for (key, share) in shares {
            let Some(client) = self.clients.get_mut(&key) else { continue };
            for (place, ((priority, key), seen)) in client.waiting.iter_mut().enumerate() {
                let due = (place < share).then_some(*priority.max(&most_urgent));
                if *seen == due {
                    continue;
                }
                changes.hidden.extend(seen.map(|_| *key));
                changes.shown.extend(due.map(|priority| (*key, priority)));
                *seen = due;
            }
        }
        self.unseen = self.unseen + changes.hidden.len() - changes.shown.len();
        // The scheduler breaks ties by the order in which it gets to know them.
        changes.shown.sort_unstable();
        changes
    }

    fn share(&self, shares: &mut [(ClientKey, usize)]) {
        for _ in 0..SEEN_OF_SEVERAL {
            let has_more = |(key, share): &&mut (ClientKey, usize)| self.clients[key].waiting.len() > *share;
            let next = shares.iter_mut().filter(has_more).min_by_key(|(key, share)| {
                let client = &self.clients[key];
                (client.running + share, client.waiting.keys().nth(*share).map(|(_, key)| *key))
            });
            let Some((_, share)) = next else { return };
            *share += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn turn(client: u8, key: RequestKey) -> Turn {
        Turn { client: IpAddr::from([10, 0, 0, client]).into(), priority: 0, key }
    }

    fn normal(keys: impl IntoIterator<Item = RequestKey>) -> Vec<(RequestKey, i32)> {
        keys.into_iter().map(|key| (key, 0)).collect()
    }

    fn flooded() -> Turns {
        let mut turns = Turns::default();
        (0..100).for_each(|key| turns.add(turn(1, key)));
        turns
    }

    #[test]
    fn the_scheduler_sees_all_requests_of_a_client_that_is_alone() {
        let mut turns = flooded();
        assert_eq!(turns.deal(), Changes { shown: normal(0..100), hidden: vec![] });
        assert_eq!((turns.deal(), turns.unseen()), (Changes::default(), 0));
    }

    #[test]
    fn when_another_comes_most_of_a_flood_is_hidden_and_comes_back_in_its_order() {
        let mut turns = flooded();
        turns.deal();
        turns.add(turn(2, 100));
        assert_eq!(turns.deal(), Changes { shown: normal([100]), hidden: (15..100).collect() });
        assert_eq!(turns.unseen(), 85);
        turns.admit(turn(2, 100));
        assert_eq!(turns.deal().shown, normal(15..100));
    }

    #[test]
    fn who_has_fewest_running_is_seen_first() {
        let mut turns = flooded();
        (0..50).for_each(|key| turns.admit(turn(1, key)));
        (100..120).for_each(|key| turns.add(turn(2, key)));
        assert_eq!(turns.deal().shown, normal(100..116));
    }

    #[test]
    fn a_clients_own_requests_are_seen_by_priority() {
        let mut turns = flooded();
        turns.add(turn(2, 100));
        turns.deal();
        turns.add(Turn { priority: -1, ..turn(1, 101) });
        assert_eq!(turns.deal(), Changes { shown: normal([101]), hidden: vec![14] });
    }

    #[test]
    fn a_client_is_more_urgent_than_normal_only_while_it_is_alone() {
        let mut turns = Turns::default();
        turns.add(Turn { priority: -1, ..turn(1, 0) });
        assert_eq!(turns.deal().shown, [(0, -1)]);
        turns.add(turn(2, 1));
        assert_eq!(turns.deal(), Changes { shown: vec![(0, 0), (1, 0)], hidden: vec![0] });
        turns.end(turn(2, 1));
        assert_eq!(turns.deal(), Changes { shown: vec![(0, -1)], hidden: vec![0] });
    }

    #[test]
    fn of_many_clients_with_one_request_each_the_oldest_are_seen_whatever_their_address() {
        let mut turns = Turns::default();
        (1..=40).for_each(|number: u8| turns.add(turn(41 - number, number.into())));
        assert_eq!(turns.deal().shown, normal(1..17));
    }

    #[test]
    fn clients_without_requests_are_forgotten() {
        let mut turns = flooded();
        (0..50).for_each(|key| turns.admit(turn(1, key)));
        (0..100).for_each(|key| turns.end(turn(1, key)));
        assert!(turns.clients.is_empty());
        assert_eq!((turns.deal(), turns.unseen()), (Changes::default(), 0));
    }
}
