//! Makes artifacts of models from finished requests.
//!
//! From the bottom up:
//! - [`sample`]: one finished request; [`dataset`]: those of a log; `step_log`: those of a log of another engine, which has steps only;
//!   `left_out`: why a request is not used; [`split`]: which of them are for what
//! - `rows`: single steps as training rows; [`progress`]: what a fit has to tell while it runs
//! - `optimiser`: Adam, the loss and early stopping; `stop`: when a fit ends; `feedforward`: fits networks over one row, `sequence`: those over
//!   steps; `classic`: regressions and forests
//! - `parameters`: the parameters of a model of any kind
//! - [`train`](mod@train): one model from data to artifact

pub(crate) mod classic;
pub mod dataset;
pub(crate) mod feedforward;
pub(crate) mod left_out;
pub(crate) mod optimiser;
pub(crate) mod parameters;
pub mod progress;
pub(crate) mod rows;
pub mod sample;
pub(crate) mod sequence;
pub mod split;
pub(crate) mod step_log;
pub(crate) mod stop;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "for tests alone")]
pub mod synthetic;
pub mod train;
