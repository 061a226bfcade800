//! The lines of the event log, field by field and in order: one file for each kind of line.

pub(crate) mod arrival;
mod lines;
mod outcome;
mod request;
mod start;
mod step;

#[cfg(test)]
pub(crate) mod tests;

pub use arrival::Arrival;
pub use lines::{Lines, seconds};
pub use outcome::{Outcome, Pits};
pub use request::RequestLine;
pub use start::StartLine;
pub use step::StepLine;
