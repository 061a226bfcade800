//! What a rule knows beside the request.

/// The state of the engine at the start of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Seconds on the caller's clock.
    pub(crate) now: f64,
    /// Mean duration of a step, seconds; 0 until one was seen.
    pub(crate) step_seconds: f64,
    /// Mean wait until the first admission, seconds; 0 until one was seen.
    pub(crate) mean_wait: f64,
    /// Waiting requests.
    pub(crate) waiting: usize,
    /// Running requests.
    pub(crate) running: usize,
    /// The KV budget, tokens.
    pub(crate) kv_tokens: f64,
    /// Most running requests.
    pub(crate) max_running: f64,
}

#[cfg(test)]
impl Moment {
    /// Nothing is known yet.
    pub(crate) const START: Self =
        Self { now: 0.0, step_seconds: 0.0, mean_wait: 0.0, waiting: 0, running: 0, kv_tokens: 1.0, max_running: 1.0 };
}
