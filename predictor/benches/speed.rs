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

use std::path::Path;
use std::time::{Duration, Instant};

use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::models::ModelKind;
use eoscast_lab::load::pace::Pace;
use eoscast_lab::load::player::Player;
use eoscast_lab::load::recording::read;
use eoscast_lab::load::rpc::play;
use eoscast_predictor::tracker::Tracker;
use eoscast_proto::domain::{StepBatch, WorkerRun};

use predictor::Predictor;
use tempfile::TempDir;
use workload::Engine;

/// Live requests, each with an event in every message.
const LIVE: usize = 256;
/// Events a second at which the latency is measured, and requests that are live then.
const PACE: f64 = 20_000.0;
const PACED_LIVE: [usize; 3] = [16, 64, LIVE];

/// The floor, and what ships.
const MODELS: [&str; 2] = ["prior", "survival"];

fn main() {
    for model in MODELS {
        println!("{model}: {:.2} us per estimate, features, calibration and log lines included", micros(model));
    }
    // As many threads as the predictor has, at most one of them busy with sending and one with taking in.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for model in MODELS {
        for log in ["true", "false"] {
            let (predictor, data) = runtime.block_on(end_to_end(model, log));
            if log == "true" {
                PACED_LIVE.iter().for_each(|live| latency(&predictor, data.path(), *live));
            }
        }
    }
}

async fn end_to_end(model: &str, log: &str) -> (Predictor, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let args = ["--metrics", "off", "--model", model, "--enable-eos-prob-logging", log];
    let predictor = Predictor::start(data.path(), &args);
    let mut stream = predictor.stream().await;
    let messages: Vec<_> = Engine::new("w", LIVE, 10_000).collect();
    let (last, events) = (messages.len() as u64, messages.iter().map(|m| m.events.len()).sum::<usize>());
    let begun = Instant::now();
    let sender = stream.sender.clone();
    tokio::spawn(async move {
        for message in messages {
            sender.send(message).await.unwrap();
        }
    });
    stream.acknowledged(last).await;
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    println!("{model}, log {log}: {events} events, {rate:.0} events/s, last acknowledged");
    (predictor, data)
}

fn latency(predictor: &Predictor, log: &Path, live: usize) {
    let run = WorkerRun { worker_id: format!("load-{live}").try_into().unwrap(), epoch: 1 };
    let player = Player::new(read(log).unwrap(), 0, run).unwrap();
    let pace = Pace { live, events_per_s: Some(PACE), duration: Duration::from_secs(15) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(play(&format!("http://{}", predictor.addr), vec![player], pace, |_| ())).unwrap();
    println!("{live} events a message\n{report}");
}

fn micros(model: &str) -> f64 {
    let kind = ModelKind::parse(model).unwrap();
    let (kind, source) = ArtifactSource::choose(Some(kind), None).unwrap();
    let artifact = source.map(|(_, artifact)| artifact);
    let batches: Vec<_> = Engine::new("w", LIVE, 4_000).map(|message| StepBatch::try_from(message).unwrap()).collect();
    let (mut tracker, _) = Tracker::new(kind, artifact, Default::default(), Instant::now());
    let begun = Instant::now();
    let estimates: usize = batches.iter().map(|batch| tracker.apply(batch, 1).unwrap().estimates.len()).sum();
    begun.elapsed().as_secs_f64() * 1e6 / estimates as f64
}
