//! Admission: whether the first waiting request may join the running batch.
//!
//! The queue is served from its head: the first that does not fit ends the step's admissions, so that a large request
//! is not passed over for ever. With nothing running the first is always admitted; alone it fits, or it would not have
//! been added.
//!
//! A block that running requests share is charged once. A request to be admitted is charged for all of its blocks, and
//! for what it shares only from the next step on as a running one.

mod aggressive;
mod conservative;
mod peak;
mod sharing;

use std::fmt;

use crate::config::SchedulerConfig;
use crate::policy::{PolicyError, number, split_argument};
use crate::view::Outlook;

/// An admission rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// `aggressive`: blocks for this step are enough (vLLM).
    Aggressive,
    /// `conservative`: prompt and `max_tokens` of the whole batch are reserved; never preempts (TGI).
    Conservative,
    /// `peak`, `peak(LEVEL)`: the future peak of KV use stays within the budget.
    Peak {
        /// Quantile taken for each remaining length, 0.01 to 0.99.
        level: f32,
    },
}

impl Admission {
    pub(crate) const NAMES: &[&str] = &["aggressive", "conservative", "peak", "peak(LEVEL)"];

    /// `peak` with the default quantile.
    pub const PEAK: Self = Self::Peak { level: peak::LEVEL };

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        match split_argument(rule) {
            ("aggressive", None) => Ok(Self::Aggressive),
            ("conservative", None) => Ok(Self::Conservative),
            ("peak", None) => Ok(Self::PEAK),
            ("peak", Some(level)) => {
                let level = number(rule, level, "a level from 0.01 to 0.99", |level| (0.01..=0.99).contains(&level))?;
                Ok(Self::Peak { level: level as f32 })
            }
            _ => Err(PolicyError::unknown("admission", rule, Self::NAMES)),
        }
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggressive => f.write_str("aggressive"),
            Self::Conservative => f.write_str("conservative"),
            Self::Peak { level } => write!(f, "peak({level})"),
        }
    }
}

/// An admission rule at work: `reset` once per step, then `fits` and `add` for each request admitted.
#[derive(Debug)]
pub(crate) enum Gate {
    Aggressive,
    Conservative(conservative::Reservation),
    Peak(peak::FuturePeak),
}

impl Gate {
    pub(crate) fn new(admission: Admission, config: SchedulerConfig) -> Self {
        match admission {
            Admission::Aggressive => Self::Aggressive,
            Admission::Conservative => Self::Conservative(conservative::Reservation::new(config)),
            Admission::Peak { level } => Self::Peak(peak::FuturePeak::new(level, config)),
        }
    }

    pub(crate) fn uses_forecast(&self) -> bool {
        match self {
            Self::Aggressive | Self::Conservative(_) => false,
            Self::Peak(_) => true,
        }
    }

    /// Starts a step with the running batch and the block tables of its requests, in running order.
    pub(crate) fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        match self {
            Self::Aggressive => {}
            Self::Conservative(reservation) => reservation.reset(running, tables),
            Self::Peak(peak) => peak.reset(running, tables),
        }
    }

    /// Whether `candidate` may join; `step_blocks` are those it needs in this step.
    pub(crate) fn fits(&self, candidate: &Outlook, step_blocks: u32, free_blocks: u32) -> bool {
        aggressive::fits(step_blocks, free_blocks)
            && match self {
                Self::Aggressive => true,
                Self::Conservative(reservation) => reservation.fits(candidate),
                Self::Peak(peak) => peak.fits(candidate),
            }
    }

    /// Counts `admitted` as running.
    pub(crate) fn add(&mut self, admitted: &Outlook) {
        match self {
            Self::Aggressive => {}
            Self::Conservative(reservation) => reservation.add(admitted),
            Self::Peak(peak) => peak.add(admitted),
        }
    }
}
