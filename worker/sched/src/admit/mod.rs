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
mod fixed_cap;
mod future;
mod lightllm_static;
mod new_token_ratio;
mod past_future;
mod peak;
mod risk;
mod sharing;

use std::fmt;

use crate::config::SchedulerConfig;
use crate::policy::{PolicyError, number, number_or, split_argument};
use crate::view::{Outlook, RequestView};

/// An admission rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// `aggressive`: blocks for this step are enough (vLLM).
    Aggressive,
    /// `conservative`: prompt and `max_tokens` of the whole batch are reserved; never preempts (TGI).
    Conservative,
    /// `new-token-ratio`, `new-token-ratio(CONSERVATIVENESS)`: a part of what may be generated is reserved, and adapts
    /// (SGLang).
    NewTokenRatio {
        /// Factor on the part reserved at first, above 0.
        conservativeness: f64,
    },
    /// `lightllm-static`: the future peak with lengths guessed from what was generated (LightLLM).
    LightllmStatic,
    /// `past-future`, `past-future(RESERVE)`: the future peak with lengths drawn from those that ended lately (LightLLM).
    PastFuture {
        /// The part of the budget kept free, from 0, less than 1.
        reserve: f64,
    },
    /// `fixed-cap(N)`: at most N run.
    FixedCap {
        /// Most running requests, at least 1.
        cap: u32,
    },
    /// `peak`, `peak(LEVEL)`: the future peak of KV use stays within the budget.
    Peak {
        /// Quantile taken for each remaining length, 0.01 to 0.99.
        level: f32,
    },
    /// `risk`, `risk(EPS)`: the probability that KV use exceeds the budget stays within EPS.
    Risk {
        /// The probability, above 0 and less than 1.
        eps: f64,
    },
    /// `oracle-peak`: `peak` with true lengths for forecasts; a bound.
    OraclePeak,
}

impl Admission {
    pub(crate) const NAMES: &[&str] = &[
        "aggressive",
        "conservative",
        "new-token-ratio",
        "new-token-ratio(CONSERVATIVENESS)",
        "lightllm-static",
        "past-future",
        "past-future(RESERVE)",
        "fixed-cap(N)",
        "peak",
        "peak(LEVEL)",
        "risk",
        "risk(EPS)",
        "oracle-peak",
    ];

    /// `peak` with the default quantile.
    pub const PEAK: Self = Self::Peak { level: peak::LEVEL };

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        let (name, argument) = split_argument(rule);
        let number_or = |default, expected, valid: fn(f64) -> bool| number_or(default, rule, argument, expected, valid);
        match (name, argument) {
            ("aggressive", None) => Ok(Self::Aggressive),
            ("conservative", None) => Ok(Self::Conservative),
            ("new-token-ratio", _) => {
                let valid = |factor: f64| factor > 0.0 && factor.is_finite();
                let conservativeness = number_or(new_token_ratio::CONSERVATIVENESS, "a finite factor above 0", valid)?;
                Ok(Self::NewTokenRatio { conservativeness })
            }
            ("lightllm-static", None) => Ok(Self::LightllmStatic),
            ("past-future", _) => {
                let valid = |reserve| (0.0..1.0).contains(&reserve);
                let reserve = number_or(past_future::RESERVE, "a part from 0 to less than 1", valid)?;
                Ok(Self::PastFuture { reserve })
            }
            ("fixed-cap", Some(cap)) => {
                let valid = |cap: f64| (1.0..=1e6).contains(&cap) && cap.fract() == 0.0;
                // A whole number in range.
                let cap = number(rule, cap, "a whole number from 1 to 1000000", valid)? as u32;
                Ok(Self::FixedCap { cap })
            }
            ("peak", _) => {
                let valid = |level| (0.01..=0.99).contains(&level);
                // To the precision of a level.
                let level = match argument {
                    None => peak::LEVEL,
                    Some(_) => number_or(0.0, "a level from 0.01 to 0.99", valid)? as f32,
                };
                Ok(Self::Peak { level })
            }
            ("risk", _) => {
                let valid = |eps| eps > 0.0 && eps < 1.0;
                Ok(Self::Risk { eps: number_or(risk::EPS, "a probability between 0 and 1", valid)? })
            }
            ("oracle-peak", None) => Ok(Self::OraclePeak),
            _ => Err(PolicyError::unknown("admission", rule, Self::NAMES)),
        }
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggressive => f.write_str("aggressive"),
            Self::Conservative => f.write_str("conservative"),
            Self::NewTokenRatio { conservativeness } => write!(f, "new-token-ratio({conservativeness})"),
            Self::LightllmStatic => f.write_str("lightllm-static"),
            Self::PastFuture { reserve } => write!(f, "past-future({reserve})"),
            Self::FixedCap { cap } => write!(f, "fixed-cap({cap})"),
            Self::Peak { level } => write!(f, "peak({level})"),
            Self::Risk { eps } => write!(f, "risk({eps})"),
            Self::OraclePeak => f.write_str("oracle-peak"),
        }
    }
}

/// An admission rule at work: `reset` once per step, then `fits` and `add` for each request admitted.
#[derive(Debug)]
pub struct Gate(State);

#[derive(Debug)]
enum State {
    Aggressive,
    Conservative(conservative::Reservation),
    NewTokenRatio(new_token_ratio::NewTokenRatio),
    LightllmStatic(lightllm_static::GuessedPeak),
    PastFuture(past_future::PastFuture),
    FixedCap { cap: u32, running: usize },
    Peak(peak::QuantilePeak),
    Risk(risk::PooledRisk),
}

impl Gate {
    /// The rule before the first request.
    pub fn new(admission: Admission, config: SchedulerConfig) -> Self {
        Self(match admission {
            Admission::Aggressive => State::Aggressive,
            Admission::Conservative => State::Conservative(conservative::Reservation::new(config)),
            Admission::NewTokenRatio { conservativeness } => {
                State::NewTokenRatio(new_token_ratio::NewTokenRatio::new(conservativeness, config))
            }
            Admission::LightllmStatic => State::LightllmStatic(lightllm_static::GuessedPeak::new(config)),
            Admission::PastFuture { reserve } => State::PastFuture(past_future::PastFuture::new(reserve, config)),
            Admission::FixedCap { cap } => State::FixedCap { cap, running: 0 },
            Admission::Peak { level } => State::Peak(peak::QuantilePeak::new(level, config)),
            Admission::Risk { eps } => State::Risk(risk::PooledRisk::new(eps, config)),
            Admission::OraclePeak => State::Peak(peak::QuantilePeak::new(peak::ORACLE_LEVEL, config)),
        })
    }

    /// Whether the forecasts of outlooks matter.
    pub fn uses_forecast(&self) -> bool {
        matches!(self.0, State::Peak(_) | State::Risk(_))
    }

    /// A step was planned for the running requests, and some were preempted for it or not.
    pub fn stepped(&mut self, running: impl Iterator<Item = RequestView>, preempted: bool) {
        if let State::NewTokenRatio(ratio) = &mut self.0 {
            ratio.stepped(running, preempted);
        }
    }

    /// A request ended after generating `length` tokens.
    pub fn ended(&mut self, length: u32) {
        if let State::PastFuture(past) = &mut self.0 {
            past.ended(length);
        }
    }

    /// Starts a step with the running batch and the block tables of its requests, in running order; empty tables if no
    /// block is shared.
    pub fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        match &mut self.0 {
            State::Aggressive => {}
            State::Conservative(reservation) => reservation.reset(running, tables),
            State::NewTokenRatio(ratio) => ratio.reset(running, tables),
            State::LightllmStatic(peak) => peak.reset(running, tables),
            State::PastFuture(past) => past.reset(running, tables),
            State::FixedCap { running: count, .. } => *count = running.len(),
            State::Peak(peak) => peak.reset(running, tables),
            State::Risk(risk) => risk.reset(running, tables),
        }
    }

    /// Whether `candidate` may join; `step_blocks` are those it needs in this step.
    pub fn fits(&self, candidate: &Outlook, step_blocks: u32, free_blocks: u32) -> bool {
        aggressive::fits(step_blocks, free_blocks)
            && match &self.0 {
                State::Aggressive => true,
                State::Conservative(reservation) => reservation.fits(candidate),
                State::NewTokenRatio(ratio) => ratio.fits(candidate),
                State::LightllmStatic(peak) => peak.fits(candidate),
                State::PastFuture(past) => past.fits(candidate),
                State::FixedCap { cap, running } => fixed_cap::fits(*running, *cap),
                State::Peak(peak) => peak.fits(candidate),
                State::Risk(risk) => risk.fits(candidate),
            }
    }

    /// Counts `admitted` as running.
    pub fn add(&mut self, admitted: &Outlook) {
        match &mut self.0 {
            State::Aggressive => {}
            State::Conservative(reservation) => reservation.add(admitted),
            State::NewTokenRatio(ratio) => ratio.add(admitted),
            State::LightllmStatic(peak) => peak.add(admitted),
            State::PastFuture(past) => past.add(admitted),
            State::FixedCap { running, .. } => *running += 1,
            State::Peak(peak) => peak.add(admitted),
            State::Risk(risk) => risk.add(admitted),
        }
    }
}
