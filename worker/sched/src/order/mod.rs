//! The order of the waiting queue.
//!
//! A rule gives each waiting request a score; the smallest goes first. Whatever the rule, a more urgent request goes
//! before a less urgent one, and among equals a preempted one before those that never ran.

mod fcfs;
mod srpt_pred;

use std::fmt;

use crate::policy::{PolicyError, number, split_argument};
use crate::view::Outlook;

/// A rule for the order of the waiting queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// `fcfs`: first come, first served.
    Fcfs,
    /// `srpt-pred`, `srpt-pred(RATE)`: shortest predicted remaining length first, with ageing.
    SrptPred {
        /// Tokens that a second of waiting is worth, above 0.
        age_rate: f64,
    },
}

impl Order {
    pub(crate) const NAMES: &[&str] = &["fcfs", "srpt-pred", "srpt-pred(TOKENS_PER_SECOND)"];

    /// `srpt-pred` with the published age rate.
    pub const SRPT_PRED: Self = Self::SrptPred { age_rate: srpt_pred::AGE_RATE };

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        match split_argument(rule) {
            ("fcfs", None) => Ok(Self::Fcfs),
            ("srpt-pred", None) => Ok(Self::SRPT_PRED),
            ("srpt-pred", Some(rate)) => {
                let age_rate = number(rule, rate, "a finite rate above 0", |rate| rate > 0.0 && rate.is_finite())?;
                Ok(Self::SrptPred { age_rate })
            }
            _ => Err(PolicyError::unknown("order", rule, Self::NAMES)),
        }
    }

    pub(crate) fn uses_forecast(self) -> bool {
        match self {
            Self::Fcfs => false,
            Self::SrptPred { .. } => true,
        }
    }

    pub(crate) fn score(self, outlook: &Outlook) -> f64 {
        match self {
            Self::Fcfs => fcfs::score(&outlook.view),
            Self::SrptPred { age_rate } => srpt_pred::score(outlook, age_rate),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fcfs => f.write_str("fcfs"),
            &Self::SRPT_PRED => f.write_str("srpt-pred"),
            Self::SrptPred { age_rate } => write!(f, "srpt-pred({age_rate})"),
        }
    }
}
