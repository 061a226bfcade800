//! [`LoadReport`]: what a worker tells balancers of its load, in the terms of ORCA.

/// A load report. Numbers are finite and not negative.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// Fraction in use of what limits the worker; may exceed 1.
    pub application_utilization: f64,
    /// Requests per second.
    pub rps_fractional: f64,
    /// Errors per second.
    pub eps: f64,
    /// Further numbers, by name.
    pub named_metrics: Vec<(&'static str, f64)>,
}

/// How a report is written in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadReportFormat {
    /// Names and numbers.
    Text,
    /// A JSON object.
    Json,
    /// Base64 of the protobuf message.
    Bin,
}

impl LoadReportFormat {
    /// Header of a request that wants a report with its answer; its value names the format.
    pub const REQUEST_HEADER: &str = "endpoint-load-metrics-format";
    /// Header of the answer.
    pub const RESPONSE_HEADER: &str = "endpoint-load-metrics";

    /// The format with this name, in any case. `None` if it is unknown: as in vLLM, the answer has no report then.
    pub fn named(name: &str) -> Option<Self> {
        [(Self::Text, "text"), (Self::Json, "json"), (Self::Bin, "bin")]
            .into_iter()
            .find_map(|(format, known)| name.trim().eq_ignore_ascii_case(known).then_some(format))
    }
}
