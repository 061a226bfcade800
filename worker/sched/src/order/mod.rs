//! The order of the waiting queue.
//!
//! A rule gives each waiting request a score; the smallest goes first. Whatever the rule, a more urgent request goes
//! before a less urgent one, and among equals one whose deadline presses before the others
//! ([`deadline`](crate::deadline)).
//!
//! Only the waiting are ranked: nobody who runs is preempted for a shorter one, though TRAIL, ELIS and MLFQ do so where
//! KV entries are swapped or prompts are short. Here preemption computes everything again, so that it is left to the
//! case in which blocks run out.

//! To add a rule, write a file with its `RULE` and name it in the list below.

mod moment;
mod rule;

use std::fmt;
use std::str::FromStr;

pub(crate) use moment::Moment;

use crate::policy_error::PolicyError;
use crate::rules::rules;
use crate::signature::parse;
use crate::view::Outlook;
use rule::OrderRule;

rules! { OrderRule:
    mod fcfs;
    mod sjf_prompt;
    mod sjf_pred;
    mod srpt_pred;
    mod isrtf;
    mod ltr;
    mod tie;
    mod hrrn;
    mod mlfq;
    mod gittins;
    mod boost;
    mod random;
    mod srpt_oracle;
}

/// A rule for the order of the waiting queue, with its argument.
///
/// Parsed from its name, for example `fcfs` or `srpt-pred(0.5)`. The argument is displayed where it is not the default.
#[derive(Clone, Copy)]
pub struct Order {
    rule: &'static OrderRule,
    argument: f64,
}

impl Order {
    /// `fcfs`, the rule of vLLM.
    pub const FCFS: Self = Self { rule: &fcfs::RULE, argument: 0.0 };

    /// `boost` with the default scale.
    pub const BOOST: Self = Self { rule: &boost::RULE, argument: boost::SCALE };

    /// Every rule with its default argument; those of which the argument cannot be left out are missing.
    pub fn all() -> impl Iterator<Item = Self> {
        let with_default =
            |&rule: &&'static OrderRule| Some(Self { rule, argument: rule.signature.default_argument()? });
        RULES.iter().filter_map(with_default)
    }

    pub(crate) fn uses_forecast(self) -> bool {
        self.rule.uses_forecast
    }

    /// Whether scores move as time passes, without any call for the request.
    pub(crate) fn moves(self) -> bool {
        self.rule.uses_forecast || self.rule.moves_with_time
    }

    /// Tokens that a request generates before its forecast is asked for again.
    pub(crate) fn keeps_forecast(self) -> u32 {
        self.rule.keeps_forecast
    }

    /// Every how many admissions the oldest goes; none if the order alone decides.
    pub(crate) fn turn(self) -> Option<u32> {
        self.rule.turn.map(|turn| turn(self.argument))
    }

    /// Whether it is a bound that stands for true lengths.
    pub(crate) fn wants_truth(self) -> bool {
        self.rule.wants_truth
    }

    /// `outlook` is as it was when the forecast was made.
    pub(crate) fn score(self, outlook: &Outlook, moment: &Moment) -> f64 {
        (self.rule.score)(outlook, self.argument, moment)
    }
}

impl FromStr for Order {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (rule, argument) = parse("order", RULES, |rule| rule.signature, text)?;
        Ok(Self { rule, argument })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.signature.write_short(self.argument, f)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({self})")
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule) && self.argument == other.argument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_parsed_from_what_it_is_displayed_as() {
        for order in Order::all() {
            assert_eq!(order.to_string().parse(), Ok(order));
            assert_eq!(order.to_string(), order.rule.signature.name);
        }
    }

    #[test]
    fn a_forecast_is_kept_only_by_a_rule_that_uses_one() {
        assert!(RULES.iter().all(|rule| rule.uses_forecast || rule.keeps_forecast == 0));
    }
}
