//! Whom to preempt when the KV blocks do not suffice for the running batch.
//!
//! Whatever the rule, only the least urgent are eligible, of those the ones whose deadline presses after the others, and
//! never the request that heads the batch: the one admitted first among the most urgent. It keeps its blocks until it ends, whatever forecasts say, so every step brings some
//! request nearer to its end and recomputation cannot go on for ever.

mod fewest_generated;
mod least_computed;
mod least_cost;
mod lifo;
mod longest_remaining;

use std::fmt;

use crate::deadline::pressing;
use crate::order::Moment;
use crate::policy::PolicyError;
use crate::view::Outlook;

/// A rule that picks a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// `lifo`: the one admitted last (vLLM).
    Lifo,
    /// `longest-remaining`: the one with the largest predicted remaining length.
    LongestRemaining,
    /// `least-computed`: the one with the fewest computed tokens.
    LeastComputed,
    /// `fewest-generated`: the one that generated fewest, until there is room for 20 steps (SGLang).
    FewestGenerated,
    /// `least-cost`: the one that costs least to redo for the KV entries it frees and for how long.
    LeastCost,
}

impl Victim {
    pub(crate) const NAMES: &[&str] =
        &["lifo", "longest-remaining", "least-computed", "fewest-generated", "least-cost"];

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        match rule {
            "lifo" => Ok(Self::Lifo),
            "longest-remaining" => Ok(Self::LongestRemaining),
            "least-computed" => Ok(Self::LeastComputed),
            "fewest-generated" => Ok(Self::FewestGenerated),
            "least-cost" => Ok(Self::LeastCost),
            _ => Err(PolicyError::unknown("victim", rule, Self::NAMES)),
        }
    }

    pub(crate) fn uses_forecast(self) -> bool {
        matches!(self, Self::LongestRemaining | Self::LeastCost)
    }

    /// Steps for which the running decodes have room once some were preempted.
    pub(crate) fn steps_of_room(self) -> u32 {
        if self == Self::FewestGenerated { fewest_generated::STEPS_OF_ROOM } else { 1 }
    }

    /// The index in `running`, which is in running order; none if at most one runs.
    pub(crate) fn choose(self, running: &[Outlook], moment: &Moment) -> Option<usize> {
        let priority = |i: usize| running[i].view.request.priority;
        let head = (0..running.len()).min_by_key(|&i| priority(i))?;
        let others = || (0..running.len()).filter(|&i| i != head);
        let least_urgent = others().map(priority).max()?;
        let presses = |i: usize| pressing(&running[i], moment).is_some();
        let (pressed, mut eligible): (Vec<_>, Vec<_>) =
            others().filter(|&i| priority(i) == least_urgent).partition(|&i| presses(i));
        if eligible.is_empty() {
            eligible = pressed;
        }
        let eligible = eligible.into_iter();
        match self {
            Self::Lifo => lifo::choose(eligible),
            Self::LongestRemaining => longest_remaining::choose(running, eligible),
            Self::LeastComputed => least_computed::choose(running, eligible),
            Self::FewestGenerated => fewest_generated::choose(running, eligible),
            Self::LeastCost => least_cost::choose(running, eligible),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifo => "lifo",
            Self::LongestRemaining => "longest-remaining",
            Self::LeastComputed => "least-computed",
            Self::FewestGenerated => "fewest-generated",
            Self::LeastCost => "least-cost",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Forecast;
    use crate::view::{Request, RequestView, tests::view};

    const RULES: [Victim; 5] =
        [Victim::Lifo, Victim::LongestRemaining, Victim::LeastComputed, Victim::FewestGenerated, Victim::LeastCost];

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
        for rule in RULES {
            assert_eq!(rule.choose(&running(&[(0, 90), (5, 10), (1, 50)]), &Moment::START), Some(1));
        }
    }

    #[test]
    fn the_head_of_the_batch_is_never_the_victim() {
        for rule in RULES {
            assert_eq!(rule.choose(&running(&[]), &Moment::START), None);
            assert_eq!(rule.choose(&running(&[(0, 50)]), &Moment::START), None);
            assert_eq!(rule.choose(&running(&[(0, 90), (0, 10)]), &Moment::START), Some(1));
            assert_eq!(rule.choose(&running(&[(1, 10), (0, 90)]), &Moment::START), Some(0));
        }
    }
    #[test]
    fn a_request_whose_deadline_presses_is_spared_while_there_is_another_of_its_priority() {
        let mut running = running(&[(0, 90), (0, 10), (0, 50)]);
        for pressed in [1, 2] {
            running[pressed].view.request.deadline = Some(60.0);
            let moment = Moment { step_seconds: 1.0, mean_wait: 100.0, ..Moment::START };
            let spared = |rule: Victim| rule.choose(&running, &moment) != Some(pressed);
            assert_eq!(RULES.map(spared), [pressed == 1; 5], "{pressed}");
        }
    }
}
