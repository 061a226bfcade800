//! Plays a log to a predictor as workers would, at a given rate, and measures how it keeps up.
//!
//! - [`recording`]: the requests of a log, encoded once
//! - [`player`]: what a worker with so many live requests would send, message by message; pure
//! - [`pace`]: when messages are due, and whose doing it is that one is late; pure
//! - [`rpc`]: sends them and takes the time
//! - [`usage`]: what generator and predictor use of the machine
//! - [`report`]: what came out
//! - `wire`: the messages, with entries as bytes

pub mod pace;
pub mod player;
pub mod recording;
pub mod report;
pub mod rpc;
pub mod usage;
mod wire;
