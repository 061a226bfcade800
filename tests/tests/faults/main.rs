//! Faults on purpose, for minutes, against release binaries: `make faults` runs them one after the other, and each prints what
//! it measured. [Evidence](../../../docs/evidence/reliability.md) has the figures.
//!
//! - [`kills`]: SIGKILL, again and again
//! - [`shutdown`]: SIGTERM while strangers hold connections
//! - [`disk`]: the log's folder deleted, moved, replaced, full, read-only
//! - [`link`]: the stream between worker and predictor stalls, breaks, delays, and is overfull
//! - [`clocks`]: clocks that go back, and epochs that nobody had
//! - [`skew`]: one side of an older release
//! - [`leaks`], [`overload`]: many requests, and what is left of them
//! - [`connections`], [`tokenising`], [`unread`], [`strangers`]: floods of each kind
//! - [`soak`]: several floods at once, beside a client that behaves well
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "they print what they measured")]

mod clocks;
mod connections;
mod disk;
mod kills;
mod leaks;
mod link;
mod overload;
mod shutdown;
mod skew;
mod soak;
mod strangers;
mod support;
mod tokenising;
mod unread;
