//! [`LogState`]: whether the event log is written.

/// How the event log fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogState {
    /// Switched off.
    Off,
    /// Written.
    Ok,
    /// The disk refused; tried again every 5 s. Serving goes on.
    Failed,
}
