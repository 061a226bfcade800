//! The order of the waiting queue.
//!
//! A rule gives each waiting request a score; the smallest goes first. Whatever the rule, a more urgent request goes
//! before a less urgent one, and among equals one whose deadline presses before the others
//! ([`deadline`](crate::deadline)).
//!
//! Only the waiting are ranked: nobody who runs is preempted for a shorter one, though TRAIL, ELIS and MLFQ do so where
//! KV entries are swapped or prompts are short. Here preemption computes everything again, so that it is left to the
//! case in which blocks run out.

mod boost;
mod fcfs;
mod gittins;
mod hrrn;
mod isrtf;
mod ltr;
mod mlfq;
mod moment;
mod random;
mod sjf_pred;
mod sjf_prompt;
mod srpt_oracle;
mod srpt_pred;
mod tie;

use std::fmt;

pub(crate) use moment::Moment;

use crate::policy::{PolicyError, number_or, split_argument};
use crate::view::Outlook;

/// A rule for the order of the waiting queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// `fcfs`: first come, first served.
    Fcfs,
    /// `sjf-prompt`, `sjf-prompt(RATE)`: shortest prompt first, with ageing.
    SjfPrompt {
        /// Tokens that a second of waiting is worth, at least 0.
        age_rate: f64,
    },
    /// `sjf-pred`: shortest length first, predicted once at arrival.
    SjfPred,
    /// `srpt-pred`, `srpt-pred(RATE)`: shortest predicted remaining length first, with ageing.
    SrptPred {
        /// Tokens that a second of waiting is worth, at least 0.
        age_rate: f64,
    },
    /// `isrtf-50`: shortest remaining length first, predicted anew every 50 tokens (ELIS).
    Isrtf,
    /// `ltr`, `ltr(STEPS)`: shortest predicted first, and who starves before (vllm-ltr).
    Ltr {
        /// Steps of waiting after which a request starves, at least 1.
        starvation_steps: u32,
    },
    /// `tie`: expected length and its tail, discounted by the wait (TIE).
    Tie,
    /// `hrrn`: highest response ratio on the forecast.
    Hrrn,
    /// `mlfq`: who has run less first, by levels (FastServe).
    Mlfq,
    /// `gittins`, `gittins(TURN)`: largest Gittins index first, and every TURN admissions the oldest.
    Gittins {
        /// Every how many admissions the oldest goes, at least 1.
        turn: u32,
    },
    /// `boost`, `boost(SCALE)`: first come, first served, the short counting as come earlier.
    Boost {
        /// Scale of the tail of latency in mean waits, above 0.
        scale: f64,
    },
    /// `random`, `random(SEED)`: a bound from below.
    Random {
        /// Of the hash.
        seed: u32,
    },
    /// `srpt-oracle`: shortest remaining first, with true lengths for forecasts; a bound from above.
    SrptOracle,
}

const RATE: &str = "a finite rate of at least 0";
const COUNT: &str = "a whole number from 1 to 1000000";

fn is_rate(rate: f64) -> bool {
    rate >= 0.0 && rate.is_finite()
}

fn is_count(count: f64) -> bool {
    (1.0..=1e6).contains(&count) && count.fract() == 0.0
}

impl Order {
    pub(crate) const NAMES: &[&str] = &[
        "fcfs",
        "sjf-prompt",
        "sjf-prompt(TOKENS_PER_SECOND)",
        "sjf-pred",
        "srpt-pred",
        "srpt-pred(TOKENS_PER_SECOND)",
        "isrtf-50",
        "ltr",
        "ltr(STEPS)",
        "tie",
        "hrrn",
        "mlfq",
        "gittins",
        "gittins(TURN)",
        "boost",
        "boost(SCALE)",
        "random",
        "random(SEED)",
        "srpt-oracle",
    ];

    /// `boost` with the default scale.
    pub const BOOST: Self = Self::Boost { scale: boost::SCALE };

    /// `srpt-pred` with the default age rate.
    pub const SRPT_PRED: Self = Self::SrptPred { age_rate: srpt_pred::AGE_RATE };

    pub(crate) fn parse(rule: &str) -> Result<Self, PolicyError> {
        let (name, argument) = split_argument(rule);
        let number = |default, expected, valid: fn(f64) -> bool| number_or(default, rule, argument, expected, valid);
        // The casts are of whole numbers in range.
        match (name, argument) {
            ("fcfs", None) => Ok(Self::Fcfs),
            ("sjf-prompt", _) => Ok(Self::SjfPrompt { age_rate: number(sjf_prompt::AGE_RATE, RATE, is_rate)? }),
            ("sjf-pred", None) => Ok(Self::SjfPred),
            ("srpt-pred", _) => Ok(Self::SrptPred { age_rate: number(srpt_pred::AGE_RATE, RATE, is_rate)? }),
            ("isrtf-50", None) => Ok(Self::Isrtf),
            ("ltr", _) => {
                let steps = number(f64::from(ltr::STARVATION_STEPS), COUNT, is_count)?;
                Ok(Self::Ltr { starvation_steps: steps as u32 })
            }
            ("tie", None) => Ok(Self::Tie),
            ("hrrn", None) => Ok(Self::Hrrn),
            ("mlfq", None) => Ok(Self::Mlfq),
            ("gittins", _) => {
                let turn = number(f64::from(gittins::TURN), COUNT, is_count)?;
                Ok(Self::Gittins { turn: turn as u32 })
            }
            ("boost", _) => {
                let scale = number(boost::SCALE, "a finite scale above 0", |scale| is_rate(scale) && scale > 0.0)?;
                Ok(Self::Boost { scale })
            }
            ("random", _) => {
                let seed = number(0.0, "a whole number from 0 to 1000000", |seed| seed == 0.0 || is_count(seed))?;
                Ok(Self::Random { seed: seed as u32 })
            }
            ("srpt-oracle", None) => Ok(Self::SrptOracle),
            _ => Err(PolicyError::unknown("order", rule, Self::NAMES)),
        }
    }

    pub(crate) fn uses_forecast(self) -> bool {
        !matches!(self, Self::Fcfs | Self::SjfPrompt { .. } | Self::Mlfq | Self::Random { .. })
    }

    /// Whether scores move as time passes, without any call for the request.
    pub(crate) fn moves(self) -> bool {
        self.uses_forecast() || self == Self::Mlfq
    }

    /// Tokens that a request generates before its forecast is asked for again.
    pub(crate) fn keeps_forecast(self) -> u32 {
        match self {
            Self::SjfPred | Self::Ltr { .. } | Self::Tie => u32::MAX,
            Self::Isrtf => isrtf::WINDOW,
            _ => 0,
        }
    }

    /// Every how many admissions the oldest goes; none if the order alone decides.
    pub(crate) fn turn(self) -> Option<u32> {
        match self {
            Self::Gittins { turn } => Some(turn),
            _ => None,
        }
    }

    /// `outlook` is as it was when the forecast was made.
    pub(crate) fn score(self, outlook: &Outlook, moment: &Moment) -> f64 {
        match self {
            Self::Fcfs => fcfs::score(&outlook.view),
            Self::SjfPrompt { age_rate } => sjf_prompt::score(&outlook.view, age_rate),
            Self::SjfPred => sjf_pred::score(outlook),
            Self::SrptPred { age_rate } => srpt_pred::score(outlook, age_rate),
            Self::Isrtf => isrtf::score(outlook),
            Self::Ltr { starvation_steps } => ltr::score(outlook, starvation_steps, moment),
            Self::Tie => tie::score(outlook, moment),
            Self::Hrrn => hrrn::score(outlook, moment),
            Self::Mlfq => mlfq::score(&outlook.view, moment),
            Self::Gittins { .. } => gittins::score(outlook),
            Self::Boost { scale } => boost::score(outlook, scale, moment),
            Self::Random { seed } => random::score(&outlook.view, u64::from(seed)),
            Self::SrptOracle => srpt_oracle::score(outlook),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, argument, default) = match *self {
            Self::Fcfs => return f.write_str("fcfs"),
            Self::SjfPred => return f.write_str("sjf-pred"),
            Self::Isrtf => return f.write_str("isrtf-50"),
            Self::Tie => return f.write_str("tie"),
            Self::Hrrn => return f.write_str("hrrn"),
            Self::Mlfq => return f.write_str("mlfq"),
            Self::SrptOracle => return f.write_str("srpt-oracle"),
            Self::SjfPrompt { age_rate } => ("sjf-prompt", age_rate, sjf_prompt::AGE_RATE),
            Self::SrptPred { age_rate } => ("srpt-pred", age_rate, srpt_pred::AGE_RATE),
            Self::Ltr { starvation_steps } => ("ltr", f64::from(starvation_steps), f64::from(ltr::STARVATION_STEPS)),
            Self::Gittins { turn } => ("gittins", f64::from(turn), f64::from(gittins::TURN)),
            Self::Boost { scale } => ("boost", scale, boost::SCALE),
            Self::Random { seed } => ("random", f64::from(seed), 0.0),
        };
        if argument == default { f.write_str(name) } else { write!(f, "{name}({argument})") }
    }
}
