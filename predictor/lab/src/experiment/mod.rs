//! Policies compared on the real worker with the real predictor: the same requests, whose lengths are known because each has its own
//! seed, under open-loop Poisson load.
//!
//! - [`options`]: the command line
//! - [`requests`]: what is asked, and how long each reply is
//! - [`open_loop`]: the client that sends it
//! - [`oracle`]: a predictor that knows the lengths
//! - [`services`]: worker and predictor, fresh for each run
//! - [`run`]: one policy on one workload, on the worker and in the simulator
//! - [`journal`]: what was measured so far, on disk
//! - [`plan`]: which runs there are, and in which order
//! - [`metrics`]: what is reported of a run; [`report`]: means over rounds, and ratios by round; [`table`]: as text; [`plots`]: as SVG
//! - [`campaign`]: all of it, from the command line to the report

pub(crate) mod campaign;
mod journal;
mod metrics;
mod open_loop;
pub(crate) mod options;
mod oracle;
mod plan;
mod plots;
mod report;
mod requests;
mod run;
mod services;
pub(crate) mod table;
