//! Policies compared in virtual time: traces in, figures out. The simulator itself is [`eoscast_sched::sim`].
//!
//! - [`trace_file`]: traces as CSV; [`trace_log`]: the event log as a trace, with its estimates
//! - [`cost_file`]: the cost model as JSON
//! - [`experiment`]: every policy at every load with every seed
//! - [`table`]: the results as text; [`plots`]: as figures, each a [`chart`]

pub mod chart;
pub mod cost_file;
pub mod experiment;
pub mod plots;
pub mod table;
pub mod trace_file;
pub mod trace_log;
