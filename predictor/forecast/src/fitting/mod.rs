//! Training of models from event logs.
//!
//! - [`dataset`]: finished requests with their steps, from a log; [`intake`]: what else was in it; [`split`]: which of them are for what
//! - [`rows`]: single steps as training rows
//! - [`network`]: fits feed-forward networks, [`sequence_network`]: recurrent ones and transformers; [`classic`]: regressions
//!   and forests
//! - [`run`]: one model from data to artifact

pub mod classic;
pub mod dataset;
pub mod fitting;
pub mod intake;
pub mod network;
pub mod rows;
pub mod run;
pub mod sequence_network;
pub mod split;
#[cfg(any(test, feature = "testing"))]
pub mod synthetic;
