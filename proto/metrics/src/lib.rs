//! What the `/metrics` pages of both services share.
//!
//! # Layout
//! - here: [`registry`] and [`add`]
//! - [`format`](mod@format): the two text formats, and which one a client asks for
//! - `process`: `process_*`; [`connections`]: of the listeners

#![warn(missing_docs)]

pub mod connections;
pub mod format;
mod process;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// A registry with `process_*` and `PREFIX_build_info`.
pub fn registry(prefix: &str, version: &'static str, commit: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::ProcessCollector));
    let build = Info::new([("version", version), ("commit", commit)]);
    registry.register(format!("{prefix}_build"), "Version and commit of the binary", build);
    registry
}

/// Registers a metric and gives it back, so that a struct of metrics has one line for each.
pub fn add<M: Metric + Clone>(registry: &mut Registry, name: impl Into<String>, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
