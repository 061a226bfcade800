//! [`History`]: the outcomes that models follow.

use std::collections::VecDeque;

use eoscast_log::record::Outcome;

/// Most outcomes that any model looks back on.
pub const LONGEST_WINDOW: usize = 10_000;

/// The outcomes so far: how many there were, and the last of them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Outcomes since the event log began.
    pub seen: u64,
    /// How many of them were censored.
    pub censored: u64,
    /// The last [`LONGEST_WINDOW`], oldest first.
    pub recent: VecDeque<Outcome>,
}

impl History {
    /// Adds the next outcome.
    pub fn push(&mut self, outcome: Outcome) {
        // A damaged log may have claimed any number.
        self.seen = self.seen.saturating_add(1);
        self.censored = self.censored.saturating_add(u64::from(outcome.censored));
        if self.recent.len() == LONGEST_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(outcome);
    }
}
