//! A named policy: `order+admission+victim`.

use std::fmt;
use std::str::FromStr;

use crate::admit::Admission;
use crate::order::Order;
use crate::victim::Victim;

/// The three decisions of the scheduler.
///
/// Parsed from `order`, `order+admission` or `order+admission+victim`, for example `srpt-pred+peak(0.9)+lifo`; what is
/// left out is `aggressive` and `lifo`, so `fcfs` is vLLM's policy, except that `fewest-generated` goes with
/// `new-token-ratio`, as in SGLang. `srpt` is short for `srpt-pred+peak+longest-remaining`.
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
        Self { order: Order::BOOST, admission: Admission::PEAK, victim: Victim::LeastCost }
    }
}

impl Policy {
    /// Whether a rule is a bound that stands for true lengths: `srpt-oracle` or `oracle-peak`. The scheduler knows no
    /// true length: who runs such a policy answers forecasts with [`Forecast::certain`](crate::Forecast::certain).
    pub fn wants_truth(&self) -> bool {
        self.order == Order::SrptOracle || self.admission == Admission::OraclePeak
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(policy: &str) -> Result<Self, PolicyError> {
        if policy == "srpt" {
            let (order, admission) = (Order::SRPT_PRED, Admission::PEAK);
            return Ok(Self { order, admission, victim: Victim::LongestRemaining });
        }
        let mut rules = policy.split('+').map(str::trim);
        let order = Order::parse(rules.next().unwrap_or_default())?;
        let admission = rules.next().map_or(Ok(Admission::Aggressive), Admission::parse)?;
        let usual_victim = match admission {
            Admission::NewTokenRatio { .. } => Victim::FewestGenerated,
            _ => Victim::Lifo,
        };
        let victim = rules.next().map_or(Ok(usual_victim), Victim::parse)?;
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

/// The argument of `rule` as [`number`], or `default` if it has none.
pub(crate) fn number_or(
    default: f64,
    rule: &str,
    argument: Option<&str>,
    expected: &'static str,
    valid: impl FnOnce(f64) -> bool,
) -> Result<f64, PolicyError> {
    argument.map_or(Ok(default), |argument| number(rule, argument, expected, valid))
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
    fn the_default_is_ours_and_srpt_a_short_name() {
        assert_eq!("boost+peak+least-cost".parse(), Ok(Policy::default()));
        assert_eq!("srpt".parse::<Policy>(), "srpt-pred+peak+longest-remaining".parse());
    }

    #[test]
    fn a_name_survives_printing_and_parsing() {
        for name in [
            "fcfs+aggressive+lifo",
            "srpt-pred+peak(0.9)+longest-remaining",
            "srpt-pred(0.5)+conservative+lifo",
            "sjf-prompt+lightllm-static+least-computed",
            "sjf-prompt(0)+fixed-cap(7)+lifo",
            "sjf-pred+past-future(0.03)+lifo",
            "isrtf-50+past-future(0.1)+lifo",
            "ltr+risk(0.05)+least-cost",
            "ltr(50)+risk(0.2)+least-cost",
            "tie+new-token-ratio(1)+fewest-generated",
            "hrrn+new-token-ratio(0.5)+lifo",
            "mlfq+aggressive+lifo",
            "gittins+risk(0.05)+least-cost",
            "gittins(5)+risk(0.05)+least-cost",
            "boost+peak(0.85)+least-cost",
            "boost(0.3)+risk(0.05)+least-cost",
            "random+aggressive+lifo",
            "random(9)+aggressive+lifo",
            "srpt-oracle+oracle-peak+lifo",
            &Policy::default().to_string(),
        ] {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
        }
    }

    #[test]
    fn an_unknown_rule_is_named_with_the_known_ones() {
        assert!(error("fifo").starts_with("unknown order rule \"fifo\": use one of fcfs, sjf-prompt, "));
        assert!(error("fcfs+greedy").contains("use one of aggressive, conservative, new-token-ratio, "));
        assert!(error("fcfs+peak+").contains("use one of lifo, longest-remaining, "));
        assert!(error("fcfs+fixed-cap").contains("fixed-cap(N)"));
        assert!(error("").contains("unknown order rule \"\""));
        assert!(error("fcfs(3)").contains("unknown order rule"));
    }

    #[test]
    fn an_argument_out_of_range_is_refused() {
        for (policy, expected) in [
            ("fcfs+peak(1)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(0)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(nan)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(much)", "a level from 0.01 to 0.99"),
            ("fcfs+peak()", "a level from 0.01 to 0.99"),
            ("fcfs+risk(0)", "a probability between 0 and 1"),
            ("fcfs+past-future(1)", "a part from 0 to less than 1"),
            ("fcfs+fixed-cap(0)", "a whole number from 1 to 1000000"),
            ("fcfs+fixed-cap(2.5)", "a whole number from 1 to 1000000"),
            ("fcfs+new-token-ratio(0)", "a finite factor above 0"),
            ("srpt-pred(-1)", "a finite rate of at least 0"),
            ("srpt-pred(inf)", "a finite rate of at least 0"),
            ("gittins(0)", "a whole number from 1 to 1000000"),
            ("ltr(0.5)", "a whole number from 1 to 1000000"),
            ("boost(0)", "a finite scale above 0"),
            ("random(-1)", "a whole number from 0 to 1000000"),
            ("fcfs+peak+lifo+lifo", "unexpected \"lifo\""),
        ] {
            assert!(error(policy).contains(expected), "{policy}");
        }
    }

    #[test]
    fn sglangs_admission_brings_its_victim() {
        assert_eq!("fcfs+new-token-ratio".parse::<Policy>().unwrap().victim, Victim::FewestGenerated);
    }

    #[test]
    fn an_oracle_wants_the_truth() {
        let wants_truth = |name: &str| name.parse::<Policy>().unwrap().wants_truth();
        assert!(wants_truth("srpt-oracle") && wants_truth("fcfs+oracle-peak"));
        assert!(!wants_truth("srpt-pred+peak"));
    }
}
