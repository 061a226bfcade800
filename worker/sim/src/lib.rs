//! A simulator in virtual time over the same [`Scheduler`](eoscast_sched::Scheduler) that the worker runs.
//!
//! [`Workload::draw`] takes requests of a trace and gives them arrivals, [`simulate`] runs them, and [`Summary::of`] makes
//! the figures to compare. A run depends on its arguments alone, seeds among them.
//!
//! # Layout
//! - `run`: the loop, [`simulate`], and what became of each request, [`SimulatedRun`]; `kv_use`: KV use over time
//! - `trace`: requests and when they come; [`trace_file`]: the CSV file of them
//! - `cost`: how long a step takes, [`CostModel`]; `fit`: its prices from measured steps; [`cost_file`]: the JSON file of
//!   them; `load`: load and KV pressure that follow, [`Demand`]
//! - `foresight`: what the policy sees of remaining lengths, [`ForecastSource`]
//! - `summary`: the figures of a run; `confidence`: their intervals over several
//! - [`past_future_ae`]: the saturated queue of the published artefact of the past-future scheduler
//! - `random`: distributions to draw from

mod confidence;
mod cost;
pub mod cost_file;
mod fit;
mod foresight;
mod kv_use;
mod load;
pub mod past_future_ae;
mod random;
mod run;
mod summary;
mod trace;
pub mod trace_file;

pub use confidence::Interval;
pub use cost::{CostError, CostModel, StepWork};
pub use foresight::{ForecastSource, ForecastSourceError, RecordedEstimate, RecordedEstimates};
pub use kv_use::KvUse;
pub use load::Demand;
pub use random::Random;
pub use run::{SimulatedEngine, SimulatedReply, SimulatedRun, SimulationError, simulate};
pub use summary::Summary;
pub use trace::{ArrivalError, Arrivals, TraceRequest, Workload};
