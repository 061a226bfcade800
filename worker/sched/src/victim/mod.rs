//! Whom to preempt when the KV blocks do not suffice for the running batch.
//!
//! Whatever the rule, only the least urgent are eligible, and never the request that heads the batch: the one admitted
//! first among the most urgent. It keeps its blocks until it ends, whatever forecasts say, so every step brings some
//! request nearer to its end and recomputation cannot go on for ever.

mod lifo;
mod longest_remaining;

use std::fmt;

use crate::policy::PolicyError;
use crate::view::Outlook;

/// A rule that picks a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// `lifo`: the one admitted last (vLLM).
    Lifo,
    /// `longest-remaining`: the one with the largest predicted remaining length.
    LongestRemaining,
}

impl Victim {
    pub(crate) const NAMES: &[&str] = &["lifo", "longest-remaining"];

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        match rule {
            "lifo" => Ok(Self::Lifo),
            "longest-remaining" => Ok(Self::LongestRemaining),
            _ => Err(PolicyError::unknown("victim", rule, Self::NAMES)),
        }
    }

    pub(crate) fn uses_forecast(self) -> bool {
        match self {
            Self::Lifo => false,
            Self::LongestRemaining => true,
        }
    }

    /// The index in `running`, which is in running order; none if at most one runs.
    pub(crate) fn choose(self, running: &[Outlook]) -> Option<usize> {
        let priority = |i: usize| running[i].view.request.priority;
        let head = (0..running.len()).min_by_key(|&i| priority(i))?;
        let others = || (0..running.len()).filter(|&i| i != head);
        let least_urgent = others().map(priority).max()?;
        let eligible = others().filter(|&i| priority(i) == least_urgent);
        match self {
            Self::Lifo => lifo::choose(eligible),
            Self::LongestRemaining => longest_remaining::choose(running, eligible),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifo => "lifo",
            Self::LongestRemaining => "longest-remaining",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Forecast;
    use crate::view::{Request, RequestView, tests::view};

    /// Running requests of these priorities and remaining lengths.
    fn running(requests: &[(i32, u32)]) -> Vec<Outlook> {
        let outlook = |&(priority, remaining): &(i32, u32)| {
            let request = Request { priority, ..view(1).request };
            Outlook::new(RequestView { request, ..view(1) }, Some(Forecast::certain(remaining)))
        };
        requests.iter().map(outlook).collect()
    }

    #[test]
    fn the_least_urgent_is_the_victim_under_every_rule() {
        for rule in [Victim::Lifo, Victim::LongestRemaining] {
            assert_eq!(rule.choose(&running(&[(0, 90), (5, 10), (1, 50)])), Some(1));
        }
    }

    #[test]
    fn the_head_of_the_batch_is_never_the_victim() {
        for rule in [Victim::Lifo, Victim::LongestRemaining] {
            assert_eq!(rule.choose(&running(&[])), None);
            assert_eq!(rule.choose(&running(&[(0, 50)])), None);
            assert_eq!(rule.choose(&running(&[(0, 90), (0, 10)])), Some(1));
            assert_eq!(rule.choose(&running(&[(1, 10), (0, 90)])), Some(0));
        }
    }
}
