//! The lines of the event log, field by field and in order: one file for each kind of line.

pub(crate) mod arrival;
mod gap;
mod lines;
mod outcome;
mod request;
mod signals;
mod start;
mod step;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use arrival::Arrival;
pub use gap::{GapLine, LineCounts};
pub use lines::{Lines, seconds};
pub use outcome::{Outcome, Pits};
pub use request::RequestLine;
pub use signals::Signals;
pub use start::StartLine;
pub use step::{CLASSIC_FIELDS, StepLine};
