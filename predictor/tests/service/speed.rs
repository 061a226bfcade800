//! Measurements, for release builds: `cargo test --release -p eoscast-predictor --test service speed -- --ignored --nocapture`.

use std::time::Instant;

use eoscast_predictor::models::ModelKind;
use eoscast_predictor::tracker::Tracker;
use eoscast_proto::domain::StepBatch;

use crate::predictor::Predictor;
use crate::workload::Engine;

const LIVE: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
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

#[test]
#[ignore = "a measurement"]
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
