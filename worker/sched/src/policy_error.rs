//! Why a policy name cannot be understood.

use std::fmt;

/// A policy name that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// No such rule.
    UnknownRule {
        /// Which of the three decisions.
        decision: &'static str,
        /// What was asked for.
        rule: String,
        /// The rules there are, each as it is written with and without its argument.
        known: Vec<String>,
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
