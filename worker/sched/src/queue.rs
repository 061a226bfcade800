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
    /// A deadline that presses, or infinity.
    pub(crate) deadline: f64,
    pub(crate) score: f64,
    pub(crate) arrival: f64,
    pub(crate) key: RequestKey,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let urgency = self.priority.cmp(&other.priority);
        let preempted_first = other.preempted.cmp(&self.preempted);
        let deadline = self.deadline.total_cmp(&other.deadline);
        let score = self.score.total_cmp(&other.score);
        urgency.then(preempted_first).then(deadline).then(score).then(self.key.cmp(&other.key))
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
///
/// With a turn of k, among requests of one priority at most k - 1 are admitted between two admissions of the then
/// oldest, preempted ones that come back apart. So who has n older ones before it is admitted after n of them and at
/// most (k - 1)(n + 1) younger ones: at most k times as many as first come, first served.
#[derive(Debug, Default)]
pub(crate) struct WaitingQueue {
    turn: Option<u32>,
    ranked: BTreeSet<Rank>,
    by_key: BTreeMap<RequestKey, Rank>,
    by_age: BTreeSet<Age>,
    /// For each priority, admissions since the last that went to its oldest.
    overtaken: BTreeMap<i32, u32>,
    /// The request refreshed last.
    cursor: RequestKey,
}

/// Priority, arrival as bits in its order, and key.
type Age = (i32, u64, RequestKey);

fn age(rank: &Rank) -> Age {
    // Of numbers that are not negative the bits are in order; of negative ones, which are before, in reverse.
    let bits = rank.arrival.to_bits();
    let in_order = if rank.arrival.is_sign_negative() { !bits } else { bits | 1 << 63 };
    (rank.priority, in_order, rank.key)
}

impl WaitingQueue {
    /// A queue in which the oldest has every `turn`-th admission, if given.
    pub(crate) fn new(turn: Option<u32>) -> Self {
        Self { turn, ..Self::default() }
    }

    /// Adds a request, or moves it if it is there.
    pub(crate) fn insert(&mut self, rank: Rank) {
        if let Some(old) = self.by_key.insert(rank.key, rank) {
            self.ranked.remove(&old);
        } else {
            self.by_age.insert(age(&rank));
        }
        self.ranked.insert(rank);
    }

    pub(crate) fn remove(&mut self, key: RequestKey) {
        if let Some(rank) = self.by_key.remove(&key) {
            self.ranked.remove(&rank);
            self.by_age.remove(&age(&rank));
        }
    }

    /// Who is admitted next.
    pub(crate) fn first(&self) -> Option<RequestKey> {
        let first = self.ranked.first()?;
        let overtaken = self.overtaken.get(&first.priority).copied().unwrap_or(0);
        match self.turn {
            Some(turn) if overtaken + 1 >= turn && !first.preempted => self.oldest(first.priority),
            _ => Some(first.key),
        }
    }

    /// The waiting in rank order. The oldest may be admitted before its rank where it has its turn.
    pub(crate) fn by_rank(&self) -> impl Iterator<Item = RequestKey> {
        self.ranked.iter().map(|rank| rank.key)
    }

    /// Removes a request that is admitted.
    pub(crate) fn admit(&mut self, key: RequestKey) {
        if self.turn.is_some()
            && let Some(&Rank { priority, .. }) = self.by_key.get(&key)
        {
            let oldest = self.oldest(priority);
            let overtaken = self.overtaken.entry(priority).or_default();
            *overtaken = if oldest == Some(key) { 0 } else { *overtaken + 1 };
        }
        self.remove(key);
    }

    fn oldest(&self, priority: i32) -> Option<RequestKey> {
        self.by_age.range((priority, 0, 0)..).next().map(|oldest| oldest.2)
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
        Rank { priority: 0, preempted: false, deadline: f64::INFINITY, score, arrival: key as f64 - 3.0, key }
    }

    fn drain(mut queue: WaitingQueue) -> Vec<RequestKey> {
        std::iter::from_fn(|| queue.first().inspect(|&key| queue.remove(key))).collect()
    }

    #[test]
    fn urgency_comes_first_then_preempted_then_deadline_then_score_then_the_older_key() {
        let mut queue = WaitingQueue::default();
        queue.insert(rank(7, 1.0));
        queue.insert(rank(6, 1.0));
        queue.insert(rank(5, 0.5));
        queue.insert(Rank { deadline: 8.0, ..rank(4, 9.0) });
        queue.insert(Rank { deadline: 7.0, ..rank(3, 99.0) });
        queue.insert(Rank { preempted: true, ..rank(2, 9.0) });
        queue.insert(Rank { priority: -1, ..rank(1, 99.0) });
        assert_eq!(drain(queue), [1, 2, 3, 4, 5, 6, 7]);
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
    #[test]
    fn every_third_admission_of_a_priority_goes_to_its_oldest() {
        let mut queue = WaitingQueue::new(Some(3));
        for key in 1..=7 {
            queue.insert(rank(key, -(key as f64)));
        }
        queue.insert(Rank { priority: 1, ..rank(0, 0.0) });
        let mut order = Vec::new();
        while let Some(key) = queue.first() {
            queue.admit(key);
            order.push(key);
        }
        assert_eq!(order, [7, 6, 1, 5, 4, 2, 3, 0]);
    }
}
