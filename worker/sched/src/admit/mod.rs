//! Admission: whether the first waiting request may join the running batch.
//!
//! The queue is served from its head: the first that does not fit ends the step's admissions, so that a large request
//! is not passed over for ever. With nothing running the first is always admitted; alone it fits, or it would not have
//! been added.
//!
//! A block that running requests share is charged once. A request to be admitted is charged for all of its blocks, and
//! for what it shares only from the next step on as a running one.
//!
//! To add a rule, write a file with its `RULE` and name it in the list below.

mod future;
mod gate;
mod rule;

use std::fmt;
use std::str::FromStr;

pub use gate::Gate;

use crate::config::SchedulerConfig;
use crate::policy_error::PolicyError;
use crate::rules::rules;
use crate::signature::parse;
use crate::victim::Victim;
use rule::{AdmissionControl, AdmissionRule};

rules! { AdmissionRule:
    mod aggressive;
    mod conservative;
    mod new_token_ratio;
    mod lightllm_static;
    mod past_future;
    mod fixed_cap;
    mod peak;
    mod risk;
    mod oracle_peak;
}

/// An admission rule, with its argument.
///
/// Parsed from its name, for example `aggressive` or `peak(0.9)`. The argument is always displayed.
#[derive(Clone, Copy)]
pub struct Admission {
    rule: &'static AdmissionRule,
    argument: f64,
}

impl Admission {
    /// `aggressive`, the rule of vLLM.
    pub const AGGRESSIVE: Self = Self { rule: &aggressive::RULE, argument: 0.0 };

    /// `conservative`, the rule of TGI.
    pub const CONSERVATIVE: Self = Self { rule: &conservative::RULE, argument: 0.0 };

    /// `past-future` with the default reserve, the rule of LightLLM.
    pub const PAST_FUTURE: Self = Self { rule: &past_future::RULE, argument: past_future::RESERVE };

    /// `peak` with the default quantile.
    pub const PEAK: Self = Self { rule: &peak::RULE, argument: peak::LEVEL };

    /// `oracle-peak`, a bound.
    pub const ORACLE_PEAK: Self = Self { rule: &oracle_peak::RULE, argument: 0.0 };

    /// Every rule with its default argument; those of which the argument cannot be left out are missing.
    pub fn all() -> impl Iterator<Item = Self> {
        let with_default =
            |&rule: &&'static AdmissionRule| Some(Self { rule, argument: rule.signature.default_argument()? });
        RULES.iter().filter_map(with_default)
    }

    pub(crate) fn uses_forecast(self) -> bool {
        self.rule.uses_forecast
    }

    /// Whether it is a bound that stands for true lengths.
    pub(crate) fn wants_truth(self) -> bool {
        self.rule.wants_truth
    }

    /// The victim rule of a policy that names none.
    pub(crate) fn usual_victim(self) -> Victim {
        self.rule.usual_victim
    }

    /// The rule before the first request.
    pub(crate) fn build(self, config: SchedulerConfig) -> Box<dyn AdmissionControl> {
        (self.rule.build)(self.argument, config)
    }
}

impl FromStr for Admission {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (rule, argument) = parse("admission", RULES, |rule| rule.signature, text)?;
        Ok(Self { rule, argument })
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.signature.write(self.argument, f)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({self})")
    }
}

impl PartialEq for Admission {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule) && self.argument == other.argument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_parsed_from_what_it_is_displayed_as() {
        for admission in Admission::all() {
            assert_eq!(admission.to_string().parse(), Ok(admission));
            assert_eq!(admission.rule.signature.name.parse(), Ok(admission));
        }
    }
}
