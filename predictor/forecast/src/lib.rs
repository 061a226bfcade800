//! Forecasts of remaining length: what models see, what they answer, how they are fitted and calibrated.
//!
//! Nothing here reads or writes a file but [`files`], which stands above all the rest (and `fitting::synthetic`, which makes logs
//! for tests).
//!
//! # Layout
//! From the bottom up:
//! - [`distribution`]: a length as a survival function; quantiles, mean, conditioning
//! - [`features`]: what models see of a request; one definition, online and offline
//! - [`history`]: the outcomes that models follow; [`age`]: the bins of tokens generated that forecasts are kept apart by
//! - [`calibration`]: makes intervals hold what they promise
//! - [`models`]: the models, the table of them, and the artifacts that they start from
//! - [`forecast`]: what a model says of one request
//! - [`fitting`]: makes artifacts of models from finished requests
//! - [`judging`]: how far forecasts of finished replies were off
//! - [`files`]: reads artifacts and event logs

#![warn(missing_docs)]

pub mod age;
pub mod calibration;
pub mod distribution;
pub mod features;
pub mod files;
pub mod fitting;
pub mod forecast;
pub mod history;
pub mod judging;
pub mod models;

/// So that the example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
