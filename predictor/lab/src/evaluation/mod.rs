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
//! - [`trained`]: asks models; [`baselines`], [`noise_floor`]: forecasters to compare with
//! - [`report`]: all of it for several models; [`table`]: the same for people

pub mod baselines;
pub mod bootstrap;
pub mod ending;
pub mod example;
pub mod intervals;
pub mod lead_time;
pub mod noise_floor;
pub mod permutation;
pub mod rank;
pub mod reliability;
pub mod report;
pub mod reservation;
pub mod table;

pub use eoscast_forecast::judging::{FinishedReply, Judged, errors, trained, weight};
