//! Policies compared on the real worker with the real predictor: the same requests, whose lengths are known because each has its own
//! seed, under open-loop Poisson load.
//!
//! # Layout
//! - [`options`]: the command line
//! - [`requests`]: what is asked, and how long each reply is
//! - [`load`]: the client that sends it
//! - [`oracle`]: a predictor that knows the lengths
//! - [`services`]: worker and predictor, fresh for each run
//! - [`run`]: one policy on one workload, on the worker and in the simulator
//! - [`journal`]: what was measured so far, on disk
//! - [`plan`]: which runs there are, and in which order
//! - [`figures`]: what is reported of a run; [`report`]: means over rounds, and ratios by round; [`table`]: as text; [`plot`]: as SVG

pub mod figures;
pub mod journal;
pub mod load;
pub mod options;
pub mod oracle;
pub mod plan;
pub mod plot;
pub mod report;
pub mod requests;
pub mod run;
pub mod services;
pub mod table;
