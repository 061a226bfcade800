//! What the tests share.
//!
//! - [`services`]: worker and predictor as processes
//! - [`resources`]: memory, descriptors and processor time of a process
//! - [`clients`]: clients that behave well, all the time
//! - [`log`]: the predictor's log beside the replies it tells of
//! - [`steps`]: messages of a worker that is none
//! - [`http`], [`frames`]: connections by hand, from any loopback address
//! - [`proxy`]: a link that stalls, breaks and delays

pub(crate) mod clients;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod proxy;
pub(crate) mod resources;
pub(crate) mod services;
pub(crate) mod steps;

use std::time::{Duration, Instant};

/// Waits until `holds` does and gives the seconds it took; fails with `what` after `patience`.
pub(crate) async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> f64 {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < patience, "never came true within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed().as_secs_f64()
}

/// The value below which so many percent of `values` lie; 0 without any.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}
