//! Policies compared in virtual time: traces in, figures out. The simulator itself is [`eoscast_sim`].
//!
//! - [`trace_log`]: an event log as a trace
//! - [`sweep`]: every policy at every load with every seed
//! - [`table`]: the results as text and JSON; [`plots`]: as figures
//! - [`past_future_ae`]: a published simulation, repeated

pub(crate) mod past_future_ae;
pub(crate) mod plots;
pub(crate) mod sweep;
pub(crate) mod table;
pub(crate) mod trace_log;
