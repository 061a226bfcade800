//! Whom to preempt when the KV blocks do not suffice for the running batch.
//!
//! Whatever the rule, only the least urgent are eligible, and of those the ones whose deadline presses only after the
//! others. The request that heads the batch is never eligible: the one admitted first among the most urgent. It keeps
//! its blocks until it ends, whatever forecasts say, so every step brings some request nearer to its end and
//! recomputation cannot go on for ever.
//!
//! To add a rule, write a file with its `RULE` and name it in the list below.

mod rule;

use std::fmt;
use std::str::FromStr;

use crate::deadline::pressing;
use crate::order::Moment;
use crate::policy_error::PolicyError;
use crate::rules::rules;
use crate::signature::parse;
use crate::view::Outlook;
use rule::VictimRule;

rules! { VictimRule:
    mod lifo;
    mod longest_remaining;
    mod least_computed;
    mod fewest_generated;
    mod least_cost;
}

/// A rule that picks a victim. Parsed from its name, for example `lifo`.
#[derive(Clone, Copy)]
pub struct Victim(&'static VictimRule);

impl Victim {
    /// `lifo`, the rule of vLLM.
    pub const LIFO: Self = Self(&lifo::RULE);

    /// `fewest-generated`, the rule of SGLang.
    pub const FEWEST_GENERATED: Self = Self(&fewest_generated::RULE);

    /// `least-cost`.
    pub const LEAST_COST: Self = Self(&least_cost::RULE);

    /// Every rule.
    pub fn all() -> impl Iterator<Item = Self> {
        RULES.iter().map(|&rule| Self(rule))
    }

    pub(crate) fn uses_forecast(self) -> bool {
        self.0.uses_forecast
    }

    /// Steps for which the running decodes have room once some were preempted.
    pub(crate) fn steps_of_room(self) -> u32 {
        self.0.steps_of_room
    }

    /// The index in `running`, which is in running order; none if at most one runs.
    pub(crate) fn choose(self, running: &[Outlook], moment: &Moment) -> Option<usize> {
        let priority = |i: usize| running[i].view.request.priority;
        let head = (0..running.len()).min_by_key(|&i| priority(i))?;
        let others = || (0..running.len()).filter(|&i| i != head);
        let least_urgent = others().map(priority).max()?;
        let presses = |i: usize| pressing(&running[i], moment).is_some();
        let (pressed, spare): (Vec<_>, Vec<_>) =
            others().filter(|&i| priority(i) == least_urgent).partition(|&i| presses(i));
        (self.0.choose)(running, if spare.is_empty() { &pressed } else { &spare })
    }
}

impl FromStr for Victim {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        parse("victim", RULES, |rule| rule.signature, text).map(|(rule, _)| Self(rule))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.signature.name)
    }
}

impl fmt::Debug for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Victim({self})")
    }
}

impl PartialEq for Victim {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Victim {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{Request, RequestView, tests::view};

    /// Running requests of these priorities and remaining lengths.
    fn running(requests: &[(i32, u32)]) -> Vec<Outlook> {
        let outlook = |&(priority, remaining): &(i32, u32)| {
            let request = Request { priority, ..view(1).request };
            Outlook::new(RequestView { request, ..view(1) }, Some(RemainingLength::certain(remaining)))
        };
        requests.iter().map(outlook).collect()
    }

    #[test]
    fn the_least_urgent_is_the_victim_under_every_rule() {
        for rule in Victim::all() {
            assert_eq!(rule.choose(&running(&[(0, 90), (5, 10), (1, 50)]), &Moment::START), Some(1));
        }
    }

    #[test]
    fn the_head_of_the_batch_is_never_the_victim() {
        for rule in Victim::all() {
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
            assert!(Victim::all().all(|rule| spared(rule) == (pressed == 1)), "{pressed}");
        }
    }

    #[test]
    fn every_rule_is_parsed_from_its_name() {
        for rule in Victim::all() {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
