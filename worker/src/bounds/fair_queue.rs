//! A bounded queue that clients share.
//!
//! While there are free places any client may have them. When there are none, a client with fewer places than another has gets one of
//! the other's: the newest of the client with most, as long as that client still has at least as many as the newcomer then. So with k
//! clients, one that waits with no more than 1/k of the places is always let in and never put out.

use std::collections::{HashMap, VecDeque};

use super::client::ClientKey;

/// A place, as long as it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlaceId(u64);

/// What waits, of each client in the order of arrival.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    capacity: usize,
    length: usize,
    clients: HashMap<ClientKey, VecDeque<(PlaceId, T)>>,
    /// Clients that wait, whose turn it is first.
    turns: VecDeque<ClientKey>,
    next: u64,
}

/// Items that were let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LetIn<T> {
    /// In the order of the items.
    pub(crate) places: Vec<PlaceId>,
    /// What lost its place to them.
    pub(crate) evicted: Vec<T>,
}

impl<T> FairQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, length: 0, clients: HashMap::new(), turns: VecDeque::new(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Lets in all items, or none; the items come back if there are not enough places for `client`.
    pub(crate) fn push(&mut self, client: ClientKey, items: Vec<T>) -> Result<LetIn<T>, Vec<T>> {
        let free = self.capacity.saturating_sub(self.length);
        let Some(losers) = self.losers(client, items.len(), items.len().saturating_sub(free)) else {
            return Err(items);
        };
        let evicted = losers.into_iter().filter_map(|loser| self.pop_newest(loser)).collect();
        let places = items.into_iter().map(|item| self.push_one(client, item)).collect();
        Ok(LetIn { places, evicted })
    }

    /// The next item: the oldest of the client whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let client = self.turns.pop_front()?;
        let waiting = self.clients.get_mut(&client)?;
        let (_, item) = waiting.pop_front()?;
        self.length -= 1;
        if waiting.is_empty() {
            self.clients.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        Some(item)
    }

    /// Takes an item out, if it still has its place.
    pub(crate) fn remove(&mut self, client: ClientKey, place: PlaceId) -> Option<T> {
        let waiting = self.clients.get_mut(&client)?;
        let index = waiting.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let (_, item) = waiting.remove(index)?;
        self.left(client);
        Some(item)
    }

    /// Who loses a place so that `client` can have `wanted` more, one entry a place. None if others have too few themselves.
    fn losers(&self, client: ClientKey, wanted: usize, missing: usize) -> Option<Vec<ClientKey>> {
        if missing == 0 {
            return Some(Vec::new());
        }
        let mut held: HashMap<ClientKey, usize> =
            self.clients.iter().map(|(key, waiting)| (*key, waiting.len())).collect();
        let share = held.remove(&client).unwrap_or(0) + wanted;
        let mut losers = Vec::with_capacity(missing);
        for _ in 0..missing {
            let (loser, places) = held.iter_mut().max_by_key(|(key, places)| (**places, **key))?;
            if *places <= share {
                return None;
            }
            *places -= 1;
            losers.push(*loser);
        }
        Some(losers)
    }

    fn push_one(&mut self, client: ClientKey, item: T) -> PlaceId {
        let place = PlaceId(self.next);
        self.next += 1;
        self.length += 1;
        let waiting = self.clients.entry(client).or_default();
        if waiting.is_empty() {
            self.turns.push_back(client);
        }
        waiting.push_back((place, item));
        place
    }

    fn pop_newest(&mut self, client: ClientKey) -> Option<T> {
        let (_, item) = self.clients.get_mut(&client)?.pop_back()?;
        self.left(client);
        Some(item)
    }

    /// An item of `client` has left out of turn.
    fn left(&mut self, client: ClientKey) {
        self.length -= 1;
        if self.clients.get(&client).is_some_and(VecDeque::is_empty) {
            self.clients.remove(&client);
            self.turns.retain(|other| *other != client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn client(number: u8) -> ClientKey {
        IpAddr::from([10, 0, 0, number]).into()
    }

    fn queue(capacity: usize, of_clients: &[(u8, usize)]) -> FairQueue<(u8, usize)> {
        let mut queue = FairQueue::new(capacity);
        for (number, items) in of_clients {
            for item in 0..*items {
                queue.push(client(*number), vec![(*number, item)]).unwrap();
            }
        }
        queue
    }

    #[test]
    fn one_client_may_have_all_places_and_no_more() {
        let mut queue = queue(3, &[(1, 3)]);
        assert_eq!(queue.push(client(1), vec![(1, 3)]), Err(vec![(1, 3)]));
    }

    #[test]
    fn a_newcomer_takes_the_newest_place_of_the_client_with_most() {
        let mut queue = queue(5, &[(1, 1), (2, 4)]);
        assert_eq!(queue.push(client(3), vec![(3, 0)]).unwrap().evicted, [(2, 3)]);
        assert_eq!(queue.push(client(3), vec![(3, 1)]).unwrap().evicted, [(2, 2)]);
        assert!(queue.push(client(3), vec![(3, 2)]).is_err(), "it has as many as the others");
        assert_eq!(queue.len(), 5);
    }

    #[test]
    fn several_items_are_let_in_together_or_not_at_all() {
        let mut queue = queue(6, &[(1, 5)]);
        assert!(queue.push(client(2), vec![(2, 0); 4]).is_err());
        assert_eq!(queue.len(), 5);
        let let_in = queue.push(client(2), vec![(2, 0), (2, 1), (2, 2)]).unwrap();
        assert_eq!((let_in.places.len(), let_in.evicted), (3, vec![(1, 4), (1, 3)]));
    }

    #[test]
    fn clients_take_turns_and_each_ones_items_keep_their_order() {
        let mut queue = queue(9, &[(1, 4), (2, 1), (3, 2)]);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn an_item_that_leaves_gives_its_place_back() {
        let mut queue = FairQueue::new(1);
        let place = queue.push(client(1), vec!["a"]).unwrap().places[0];
        assert_eq!(queue.remove(client(1), place), Some("a"));
        assert_eq!(queue.remove(client(1), place), None);
        queue.push(client(2), vec!["b"]).unwrap();
        assert_eq!((queue.pop(), queue.pop(), queue.len()), (Some("b"), None, 0));
    }

    proptest! {
        #[test]
        fn who_keeps_to_its_share_is_never_refused_or_put_out(calls in prop::collection::vec((0u8..4, 1usize..6, 0u8..3), 1..200)) {
            // Client 0 never waits with more than 1/4 of the places.
            let (mut queue, mut mine) = (FairQueue::new(16), Vec::new());
            for (number, items, pops) in calls {
                let items = if number == 0 { items.min(4 - mine.len()) } else { items };
                match queue.push(client(number), vec![number; items]) {
                    Ok(let_in) => {
                        prop_assert!(!let_in.evicted.contains(&0));
                        if number == 0 { mine.extend(let_in.places); }
                    }
                    Err(_) => prop_assert_ne!(number, 0),
                }
                prop_assert!(queue.len() <= 16);
                for _ in 0..pops {
                    if queue.pop() == Some(0) { mine.remove(0); }
                }
            }
        }
    }
}
