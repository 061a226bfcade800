//! The evaluation protocol: judges forecasts of finished replies. Pure functions of plain data.
//!
//! Two targets, never mixed. *Service* remaining length is what a scheduler pays for: the natural one, cut by `max_tokens`; it is
//! known of every reply that is not aborted, and errors, ranks, coverage and reservations are about it. *Natural* remaining length is
//! what "ends within k tokens" and lead time are about; of a reply that was cut it is only known to be larger than what was seen.
//!
//! Every reply weighs one: values are averaged within a reply, then over replies. Long replies would rule every figure otherwise.
//! The reservation frontier alone counts tokens of all replies together, since it is about memory.
//!
//! - [`weight`]: averages that give every reply the same weight, in bins of age and of progress
//! - [`errors`]: point errors and pinball loss; [`rank`]: Kendall's tau; [`intervals`]: coverage and width
//! - [`ending`]: "ends within k tokens" as a classifier; [`lead_time`]: the same as an alarm
//! - [`reservation`]: under-allocated replies against over-reserved tokens
//! - [`reliability`]: forecast probabilities against observed shares
//! - [`example`]: forecasts over the life of typical replies
//! - [`permutation`]: what a model loses without groups of features
//! - [`bootstrap`]: confidence intervals over prompts
//! - [`held_out`]: the requests of a log to judge on, and those to learn from
//! - [`candidate`]: a forecaster to be judged; [`trained`]: asks models
//! - [`baselines`], [`length_only`], [`noise_floor`]: forecasters to compare with
//! - [`report`]: all of it for several models; [`table`]: the same for people

pub(crate) mod baselines;
pub(crate) mod bootstrap;
pub(crate) mod candidate;
pub(crate) mod ending;
pub(crate) mod example;
pub(crate) mod held_out;
pub(crate) mod intervals;
pub(crate) mod lead_time;
pub(crate) mod length_only;
pub(crate) mod noise_floor;
pub(crate) mod permutation;
pub(crate) mod rank;
pub(crate) mod reliability;
pub(crate) mod report;
pub(crate) mod reservation;
pub(crate) mod table;

pub(crate) use eoscast_forecast::judging::{FinishedReply, Judged, errors, trained, weight};
