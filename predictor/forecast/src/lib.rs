//! Forecasts of remaining length: what models see, what they answer, how they are fitted and calibrated.
//!
//! # Layout
//! - [`features`]: what models see of a request; one definition, online and offline
//! - [`distribution`]: a length as a survival function; quantiles, mean, conditioning
//! - [`models`]: the forecasters, and the outcomes they learn from; [`calibration`]: makes intervals hold what they promise
//! - [`reservoir`]: one random forecast of each age of a reply, to be judged by its outcome
//! - [`fitting`]: makes artifacts of models from finished requests
//! - [`forecast`]: what a model says of one request
//! - [`judging`]: how far forecasts of finished replies were off

pub mod calibration;
pub mod distribution;
pub mod features;
pub mod fitting;
pub mod forecast;
pub mod judging;
pub mod models;
pub mod reservoir;
