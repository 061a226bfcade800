//! How far forecasts of finished replies were off: what refits are judged by, and what the lab's evaluation is built on. Pure.
//!
//! - [`answer`]: what is judged: one answer for one reply after t tokens
//! - [`reply`]: a finished reply, alone and with the answers given about it
//! - [`weight`]: averages that give every reply the same weight, in bins of age and of progress
//! - [`errors`]: point errors and pinball loss
//! - [`trained`]: asks models about finished requests

pub mod answer;
pub mod errors;
pub mod reply;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trained;
pub mod weight;

pub use reply::{FinishedReply, Judged};
