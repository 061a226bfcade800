//! A simulator in virtual time over the same [`Scheduler`](eoscast_sched::Scheduler) that the worker runs.
//!
//! - [`Workload`]: requests of a trace and when they come
//! - [`CostModel`]: how long a step takes; [`Demand`]: load and KV pressure that follow from it
//! - [`ForecastSource`]: what the policy sees of remaining lengths
//! - [`simulate`]: the loop; [`SimulatedRun`]: what became of each request; [`Summary`]: the figures to compare
//! - [`past_future_ae`]: the saturated queue of the published artefact of the past-future scheduler
//!
//! Everything depends on its arguments alone, seeds among them.

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
