//! What the tests share.
//!
//! - [`cluster`]: the containers, and what they report
//! - [`http`]: clients of OpenAI's API that run all the time
//! - [`clients`], [`log`]: the same over gRPC, and the predictor's log beside their replies; those of `make faults`

pub(crate) mod cluster;
pub(crate) mod http;

#[path = "../../faults/support/clients.rs"]
pub(crate) mod clients;
#[path = "../../faults/support/log.rs"]
pub(crate) mod log;

use std::time::{Duration, Instant};

/// A state that is waited for lasts, so a slow machine needs longer and fails no test.
const PATIENCE: Duration = Duration::from_secs(150);

/// Waits until `holds` does and gives the seconds it took; fails with `what` if it never does.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> f64 {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "never came true within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    start.elapsed().as_secs_f64()
}
