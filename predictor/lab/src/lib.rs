//! The research wing: trains, judges and draws forecasts, simulates schedulers, and measures the running pair.
//!
//! # Layout
//! - [`cli`]: the commands

pub mod analysis;
pub mod cli;
pub mod estimate;
pub mod evaluation;
pub mod load;
pub mod serving;
pub mod simulation;
