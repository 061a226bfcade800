//! A cluster of containers, by `make cluster-test`: three workers behind Envoy, a predictor, Prometheus. The parts are killed, cut
//! off and restarted under load.
//!
//! - [`clients`]: grpcurl and the example clients through Envoy
//! - [`containers`]: health, users, file systems and sizes
//! - [`predictor`]: killed, cut off, and taken down with everything else
//! - [`prometheus`]: targets and rules
//! - [`shares`]: a worker that is loaded gets fewer requests
//! - [`workers`]: killed, and restarted one after the other
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "they print what they measured")]

mod clients;
mod containers;
mod predictor;
mod prometheus;
mod shares;
mod support;
mod workers;
