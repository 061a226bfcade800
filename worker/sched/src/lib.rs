//! Pure scheduling for continuous batching under a KV block budget.
//!
//! Before each engine step [`Scheduler::schedule`] answers with a [`StepPlan`]; after it [`Scheduler::apply`] takes
//! what happened. There are no clocks, threads, environment variables or random numbers in here: the same calls give
//! the same plans. Ids are ordinals ([`RequestKey`]); memory, tokens and models are the caller's.
//!
//! # Layout
//! - `scheduler`: the live requests, and the three calls `schedule`, `apply`, `abort`; `live`: what is kept of each
//! - `config`: the limits of the engine; `plan`: what the engine gets, and what it gives back; `stats`: counts
//! - `policy`: the three decisions by name. `order`, `admit` and `victim` hold one file per rule, and a list of them;
//!   `rules`: the macro of the list; `signature`: parsing and display of a rule; `policy_error`: why a name is refused
//! - `view`: what a rule sees of a request; `deadline`: what goes before every rule
//! - `remaining`: a distribution over remaining length; `history`: the one from requests that ended; `peak`: the future
//!   peak of KV use
//! - `forecast_load`: what the requests will hold, for balancers; `sharing`: blocks that several requests hold
//! - `blocks`: ids and counts of KV blocks; `prefix`: the hashes by which full ones are found again
//! - `queue`: the waiting requests in rank order; `measured`: how long steps and waits take
//! - `draw`: numbers that look random; `ordinal`: maps by key
//!
//! # Face
//! An engine needs [`Scheduler`], [`SchedulerConfig`], [`Policy`], [`Request`], the plan with its outcome,
//! [`RemainingLength`] for its forecasts, [`ForecastLoad`] and [`PrefixHasher`]. The rest is for a simulator over the same rules: [`Gate`]
//! and [`Outlook`] run an admission rule alone, [`BlockHash::unshared`] stands for blocks of unknown content, and
//! [`SplitMix64`] draws.

#![warn(missing_docs)]

mod admit;
mod blocks;
mod config;
mod deadline;
mod draw;
mod forecast_load;
mod history;
mod live;
mod measured;
mod order;
mod ordinal;
mod peak;
mod plan;
mod policy;
mod policy_error;
mod prefix;
mod queue;
mod remaining;
mod rules;
mod scheduler;
mod sharing;
mod signature;
mod stats;
mod victim;
mod view;

pub use admit::{Admission, Gate};
pub use config::{ConfigError, SchedulerConfig};
pub use draw::SplitMix64;
pub use forecast_load::{ForecastLoad, WINDOW as FORECAST_WINDOW};
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
