//! The research wing: trains, judges and draws forecasts, simulates schedulers, and measures the running pair.
//!
//! # Layout
//! - [`cli`]: the commands; each file parses, calls and prints
//! - `evaluation`: how good forecasts of finished replies are, by figures and by tables
//! - `analysis`: what a log says of the ends of replies: figures and one HTML page
//! - `estimate`: a log written anew, with what a model says at each step
//! - [`export`]: a log as Parquet files
//! - `simulation`: policies in virtual time, over a trace
//! - [`load`]: a log played to a running predictor, at a rate
//! - `experiment`: policies on a running pair of worker and predictor
//! - `chart`: what all figures are drawn with; `log_lines`: lines of a log, read strictly

mod analysis;
mod chart;
pub mod cli;
pub mod estimate;
mod evaluation;
mod experiment;
pub mod export;
pub mod load;
mod log_lines;
mod simulation;
