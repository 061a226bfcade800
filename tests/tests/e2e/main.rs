//! Real processes on ephemeral ports, the real model, real clients, injected faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "some print what they measured")]

mod bad_input;
mod examples;
mod experiment;
mod export;
mod faults;
mod fetch_model;
mod generate;
mod length_control;
mod load_reports;
mod local;
mod pressure;
mod research;
mod shutdown;

use std::process::Command;
use std::time::{Duration, Instant};

use eoscast_pair::process::{binary, models_folder};

/// Waits until `holds` does; fails with `what` after half a minute.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a binary to its end: whether it succeeded, and what it printed on stdout and stderr.
fn run(name: &str, args: &[&str]) -> (bool, String, String) {
    let output =
        Command::new(binary(name).unwrap()).args(args).env("EOSCAST_MODELS", models_folder()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}
