//! The waiting requests in rank order, with ranks refreshed in turn.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::view::RequestKey;

/// The place of a waiting request: the smallest goes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    pub(crate) priority: i32,
    pub(crate) preempted: bool,
    pub(crate) score: f64,
    pub(crate) key: RequestKey,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let urgency = self.priority.cmp(&other.priority);
        let preempted_first = other.preempted.cmp(&self.preempted);
        let score = self.score.total_cmp(&other.score);
        urgency.then(preempted_first).then(score).then(self.key.cmp(&other.key))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// Waiting requests. Each operation is O(log n).
#[derive(Debug, Default)]
pub(crate) struct WaitingQueue {
    ranked: BTreeSet<Rank>,
    by_key: BTreeMap<RequestKey, Rank>,
    /// The request refreshed last.
    cursor: RequestKey,
}

impl WaitingQueue {
    /// Adds a request, or moves it if it is there.
    pub(crate) fn insert(&mut self, rank: Rank) {
        if let Some(old) = self.by_key.insert(rank.key, rank) {
            self.ranked.remove(&old);
        }
        self.ranked.insert(rank);
    }

    pub(crate) fn remove(&mut self, key: RequestKey) {
        if let Some(rank) = self.by_key.remove(&key) {
            self.ranked.remove(&rank);
        }
    }

    pub(crate) fn first(&self) -> Option<RequestKey> {
        self.ranked.first().map(|rank| rank.key)
    }

    /// Ranks up to `limit` requests anew, those next whose turn is longest ago.
    pub(crate) fn refresh(&mut self, limit: usize, mut rank: impl FnMut(RequestKey) -> Rank) {
        let after = self.by_key.range((Bound::Excluded(self.cursor), Bound::Unbounded));
        let due: Vec<Rank> = after.chain(self.by_key.range(..=self.cursor)).take(limit).map(|(_, &old)| old).collect();
        if let Some(last) = due.last() {
            self.cursor = last.key;
        }
        for old in due {
            let new = rank(old.key);
            if new != old {
                self.insert(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(key: RequestKey, score: f64) -> Rank {
        Rank { priority: 0, preempted: false, score, key }
    }

    fn drain(mut queue: WaitingQueue) -> Vec<RequestKey> {
        std::iter::from_fn(|| queue.first().inspect(|&key| queue.remove(key))).collect()
    }

    #[test]
    fn urgency_comes_first_then_preempted_then_score_then_the_older_key() {
        let mut queue = WaitingQueue::default();
        queue.insert(rank(5, 1.0));
        queue.insert(rank(4, 1.0));
        queue.insert(rank(3, 0.5));
        queue.insert(Rank { preempted: true, ..rank(2, 9.0) });
        queue.insert(Rank { priority: -1, ..rank(1, 99.0) });
        assert_eq!(drain(queue), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn every_waiting_request_gets_its_turn_to_be_refreshed() {
        let mut queue = WaitingQueue::default();
        for key in 0..10 {
            queue.insert(rank(key, key as f64));
        }
        let mut turns = Vec::new();
        for _ in 0..3 {
            queue.refresh(4, |key| {
                turns.push(key);
                rank(key, -(key as f64))
            });
        }
        turns.sort_unstable();
        turns.dedup();
        assert_eq!(turns.len(), 10);
        assert_eq!(drain(queue), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }
}
