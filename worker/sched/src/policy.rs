//! A named policy: `order+admission+victim`.

use std::fmt;
use std::str::FromStr;

use crate::admit::Admission;
use crate::order::Order;
use crate::victim::Victim;

/// The three decisions of the scheduler.
///
/// Parsed from `order`, `order+admission` or `order+admission+victim`, for example `srpt-pred+peak(0.9)+lifo`; what is
/// left out is `aggressive` and `lifo`, so `fcfs` is vLLM's policy. `srpt` is short for the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Who of the waiting is first.
    pub order: Order,
    /// Whether the first may run.
    pub admission: Admission,
    /// Who makes room when the KV blocks run out.
    pub victim: Victim,
}

impl Default for Policy {
    fn default() -> Self {
        Self { order: Order::SRPT_PRED, admission: Admission::PEAK, victim: Victim::LongestRemaining }
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(policy: &str) -> Result<Self, PolicyError> {
        if policy == "srpt" {
            return Ok(Self::default());
        }
        let mut rules = policy.split('+').map(str::trim);
        let order = Order::parse(rules.next().unwrap_or_default())?;
        let admission = rules.next().map_or(Ok(Admission::Aggressive), Admission::parse)?;
        let victim = rules.next().map_or(Ok(Victim::Lifo), Victim::parse)?;
        match rules.next() {
            None => Ok(Self { order, admission, victim }),
            Some(rest) => Err(PolicyError::TooManyRules(rest.to_owned())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.order, self.admission, self.victim)
    }
}

/// A policy name that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// No such rule.
    UnknownRule {
        /// Which of the three decisions.
        decision: &'static str,
        /// What was asked for.
        rule: String,
        /// The rules there are.
        known: &'static [&'static str],
    },
    /// The argument of a rule is not what it takes.
    BadArgument {
        /// The rule with its argument.
        rule: String,
        /// What the argument must be.
        expected: &'static str,
    },
    /// Something follows the victim rule.
    TooManyRules(String),
}

impl PolicyError {
    pub(crate) fn unknown(decision: &'static str, rule: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownRule { decision, rule: rule.to_owned(), known }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRule { decision, rule, known } => {
                write!(f, "unknown {decision} rule \"{rule}\": use one of {}", known.join(", "))
            }
            Self::BadArgument { rule, expected } => write!(f, "bad argument in \"{rule}\": it must be {expected}"),
            Self::TooManyRules(rest) => {
                write!(f, "unexpected \"{rest}\" after the victim rule: a policy is order+admission+victim")
            }
        }
    }
}

impl std::error::Error for PolicyError {}

/// Splits `name(argument)`.
pub(crate) fn split_argument(rule: &str) -> (&str, Option<&str>) {
    match rule.strip_suffix(')').and_then(|rule| rule.split_once('(')) {
        Some((name, argument)) => (name, Some(argument)),
        None => (rule, None),
    }
}

/// The argument of `rule` as a number that is `valid`, which `expected` says in words.
pub(crate) fn number(
    rule: &str,
    argument: &str,
    expected: &'static str,
    valid: impl FnOnce(f64) -> bool,
) -> Result<f64, PolicyError> {
    match argument.trim().parse() {
        Ok(number) if valid(number) => Ok(number),
        _ => Err(PolicyError::BadArgument { rule: rule.to_owned(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(policy: &str) -> String {
        policy.parse::<Policy>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_is_vllms_rule() {
        let vllm = Policy { order: Order::Fcfs, admission: Admission::Aggressive, victim: Victim::Lifo };
        for name in ["fcfs", "fcfs+aggressive", "fcfs+aggressive+lifo", " fcfs + aggressive "] {
            assert_eq!(name.parse(), Ok(vllm));
        }
    }

    #[test]
    fn the_short_name_is_the_default() {
        assert_eq!("srpt".parse(), Ok(Policy::default()));
    }

    #[test]
    fn a_name_survives_printing_and_parsing() {
        for name in [
            "fcfs+aggressive+lifo",
            "srpt-pred+peak(0.9)+longest-remaining",
            "srpt-pred(0.5)+conservative+lifo",
            &Policy::default().to_string(),
        ] {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
        }
    }

    #[test]
    fn an_unknown_rule_is_named_with_the_known_ones() {
        assert_eq!(
            error("fifo"),
            "unknown order rule \"fifo\": use one of fcfs, srpt-pred, srpt-pred(TOKENS_PER_SECOND)"
        );
        assert!(error("fcfs+greedy").contains("use one of aggressive, conservative, peak, peak(LEVEL)"));
        assert!(error("fcfs+peak+").contains("use one of lifo, longest-remaining"));
        assert!(error("").contains("unknown order rule \"\""));
        assert!(error("fcfs(3)").contains("unknown order rule"));
    }

    #[test]
    fn an_argument_out_of_range_is_refused() {
        for rule in ["peak(1)", "peak(0)", "peak(nan)", "peak(much)", "peak()"] {
            assert!(error(&format!("fcfs+{rule}")).contains("a level from 0.01 to 0.99"), "{rule}");
        }
        for rule in ["srpt-pred(0)", "srpt-pred(-1)", "srpt-pred(inf)"] {
            assert!(error(rule).contains("a finite rate above 0"), "{rule}");
        }
        assert!(error("fcfs+peak+lifo+lifo").contains("unexpected \"lifo\""));
    }
}
