//! Pure scheduling for continuous batching under a KV block budget.
//!
//! Before each engine step [`Scheduler::schedule`] answers with a [`StepPlan`]; after it [`Scheduler::apply`] takes
//! what happened. There are no clocks, threads, environment variables or random numbers in here: the same calls give
//! the same plans. Ids are ordinals ([`RequestKey`]); memory, tokens and models are the caller's.
//!
//! # Layout
//! - `scheduler`: the live requests, and the three calls `schedule`, `apply`, `abort`
//! - `config`: the limits of the engine; `stats`: counts; `sequence`: what is kept of a live request
//! - `view`: what a rule sees of a request; `plan`: what the engine gets, and what it gives back
//! - `policy`: a named policy = `order` + `admit` + `victim`, one file per rule; `deadline`: what presses before them
//! - `forecast`: a distribution over remaining length; `history`: the one from those that ended; [`peak`]: the future
//!   peak of KV use
//! - `measured`: how long steps and waits take; `draw`: numbers that look random; `ordinal`: maps by key
//! - `blocks`: ids and counts of KV blocks; `prefix`: the hashes by which full ones are found again
//! - `queue`: the waiting requests in rank order

mod admit;
mod blocks;
mod config;
mod deadline;
pub mod draw;
mod history;
mod live;
mod measured;
mod order;
mod ordinal;
pub mod peak;
mod plan;
mod policy;
mod policy_error;
mod prefix;
mod queue;
mod remaining;
mod rules;
mod scheduler;
mod signature;
mod stats;
mod victim;
mod view;

pub use admit::{Admission, Gate};
pub use config::{ConfigError, SchedulerConfig};
pub use order::Order;
pub use plan::{StepOutcome, StepPlan, Work, WorkDone};
pub use policy::Policy;
pub use policy_error::PolicyError;
pub use prefix::{BlockHash, PrefixHasher};
pub use remaining::{LEVELS, RemainingLength};
pub use scheduler::Scheduler;
pub use stats::Stats;
pub use victim::Victim;
pub use view::{AddError, Outlook, Request, RequestKey, RequestView};
