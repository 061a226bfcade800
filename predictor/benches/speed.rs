//! Step events a second end to end, and microseconds an estimate.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints, fails by panicking, and uses a part of what the tests share"
)]

#[path = "../tests/service/predictor.rs"]
mod predictor;
#[path = "../tests/service/workload.rs"]
mod workload;

use std::time::Instant;

use eoscast_predictor::models::ModelKind;
use eoscast_predictor::tracker::Tracker;
use eoscast_proto::domain::StepBatch;

use predictor::Predictor;
use workload::Engine;

const LIVE: usize = 256;

#[tokio::main(worker_threads = 1)]
async fn main() {
    microseconds_per_estimate();
    step_events_per_second_end_to_end().await;
}

async fn step_events_per_second_end_to_end() {
    for log in ["true", "false"] {
        let data = tempfile::tempdir().unwrap();
        let predictor = Predictor::start(data.path(), &["--metrics", "off", "--enable-eos-prob-logging", log]);
        let mut stream = predictor.stream().await;
        let messages: Vec<_> = Engine::new("w", LIVE, 20_000).collect();
        let (last, events) = (messages.len() as u64, messages.iter().map(|m| m.events.len()).sum::<usize>());
        let begun = Instant::now();
        let sender = stream.sender.clone();
        tokio::spawn(async move {
            for message in messages {
                sender.send(message).await.unwrap();
            }
        });
        stream.acknowledged(last).await;
        let seconds = begun.elapsed().as_secs_f64();
        println!("log {log}: {events} events, {:.0} events/s, last acknowledged", events as f64 / seconds);
    }
}

fn microseconds_per_estimate() {
    for kind in [ModelKind::Prior, ModelKind::Threshold] {
        let batches: Vec<_> =
            Engine::new("w", LIVE, 4_000).map(|message| StepBatch::try_from(message).unwrap()).collect();
        let (mut tracker, _) = Tracker::new(kind, None, Default::default(), Instant::now());
        let begun = Instant::now();
        let estimates: usize = batches.iter().map(|batch| tracker.apply(batch, 1).unwrap().estimates.len()).sum();
        let micros = begun.elapsed().as_secs_f64() * 1e6 / estimates as f64;
        println!("{}: {micros:.2} us per estimate, features and log lines included", kind.as_str());
    }
}
