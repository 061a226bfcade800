//! [`Lines`]: what is written together.

use super::request::RequestLine;
use super::start::StartLine;
use super::step::StepLine;

/// Seconds since 1970, exact to the microsecond.
pub fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The lines that one message, or the passing of time, leads to.
#[derive(Debug, Default)]
pub struct Lines {
    /// Requests that arrived.
    pub starts: Vec<StartLine>,
    /// Requests that ended.
    pub requests: Vec<RequestLine>,
    /// Step events.
    pub steps: Vec<StepLine>,
}

impl Lines {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.requests.is_empty() && self.steps.is_empty()
    }
}
