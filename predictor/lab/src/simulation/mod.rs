//! Policies compared in virtual time: traces in, figures out. The simulator itself is [`eoscast_sched::sim`].
//!
//! - [`experiment`]: every policy at every load with every seed
//! - [`table`]: the results as text; [`plots`]: as figures, each a [`chart`]

pub mod chart;
pub mod experiment;
pub mod plots;
pub mod table;
pub mod trace_log;
