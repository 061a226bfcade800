//! Clocks that go back, and epochs and sequence numbers that nobody had: a worker gets estimates again by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use eoscast_pair::client::{chat, generate};
use eoscast_proto::predictor::v1::{RequestEnded, StreamStepsRequest};
use eoscast_proto::worker::v1::GetServerInfoRequest;

use crate::kills::all_acknowledged;
use crate::support::log::replay;
use crate::support::services::{Launch, Predictor, Services, Worker};
use crate::support::steps::{event, message, now_micros, started, tell};
use crate::support::until;

const PATIENCE: Duration = Duration::from_secs(15);
const NAME: &str = "victim";

fn victim() -> Launch {
    Launch::with(&["--worker-id", NAME])
}

/// Whether a reply of 20 tokens carries estimates.
async fn gets_estimates(worker: &Worker) -> bool {
    let mut request = chat("", "Hello.", 1, 20);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let reply = generate(worker.client().await, request).await.unwrap();
    reply.estimates.iter().flatten().count() >= 5
}

/// Waits for estimates, and says how long it took.
async fn estimates_come(what: &str, worker: &Worker) {
    let before = worker.link().await.reconnects;
    let seconds = until(what, PATIENCE, async || gets_estimates(worker).await).await;
    println!("{what}: estimates after {seconds:.1} s, {} reconnects", worker.link().await.reconnects - before);
}

/// The library that sets a clock wrong, made by the C compiler that Rust needs anyway.
fn clock_shift(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/clock_shift.c");
    let library = folder.join("clock_shift.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(made.expect("cc is installed: Rust links with it").success());
    library
}

fn shifted(launch: Launch, library: &Path, seconds: i64) -> Launch {
    let launch = launch.env("LD_PRELOAD", library.display().to_string());
    launch.env("CLOCK_SHIFT_SECONDS", seconds.to_string())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_worker_whose_clock_went_back_gets_estimates_again() {
    let folder = tempfile::tempdir().unwrap();
    let library = clock_shift(folder.path());
    let mut services = Services::start(Launch::default(), &victim());
    estimates_come("at first", &services.worker).await;
    for (what, seconds) in [("ten minutes", -600), ("two days", -2 * 86_400)] {
        services.worker.restart(&shifted(victim(), &library, seconds));
        estimates_come(&format!("worker restarted with its clock {what} back"), &services.worker).await;
        services.predictor.restart();
        estimates_come("predictor restarted too", &services.worker).await;
        services.worker.restart(&shifted(victim(), &library, seconds));
        estimates_come("worker restarted again", &services.worker).await;
    }
    services.worker.restart(&victim());
    estimates_come("worker restarted with its clock right again", &services.worker).await;
    println!("{}", replay(services.predictor.data()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_predictor_whose_clock_is_wrong_serves_workers_whose_clock_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let library = clock_shift(folder.path());
    let data = folder.path().join("data");
    let mut predictor = Predictor::start(&data, Launch::default());
    let worker = Worker::start(&predictor.url(), &victim());
    estimates_come("at first", &worker).await;
    for (what, seconds) in [("two days back", -2 * 86_400), ("an hour ahead", 3600), ("right", 0)] {
        predictor.restart_with(shifted(Launch::default(), &library, seconds));
        estimates_come(&format!("predictor restarted with its clock {what}"), &worker).await;
    }
    println!("{}", replay(&data));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_forged_epoch_locks_no_worker_out() {
    let minute = 60_000_000;
    let forged = [
        ("a second ahead", now_micros() + 1_000_000),
        ("nine minutes ahead", now_micros() + 9 * minute),
        ("a day ahead", now_micros() + 1440 * minute),
        ("2^64-1", u64::MAX),
    ];
    let mut services = Services::start(Launch::default(), &victim());
    estimates_come("at first", &services.worker).await;
    for (what, epoch) in forged {
        let forged = StreamStepsRequest {
            started: vec![started("evil")],
            events: vec![event("evil", 1)],
            ..message(NAME, epoch, 1)
        };
        let (answers, end) = tell(services.predictor.client().await, vec![forged]).await;
        println!("a forged epoch {what}: {} answers, {:?}", answers.len(), end.map(|status| status.code()));
        estimates_come("the worker", &services.worker).await;
        services.worker.restart(&victim());
        estimates_come("the worker restarted", &services.worker).await;
        services.predictor.restart();
        estimates_come("the predictor restarted", &services.worker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_forged_sequence_number_loses_no_later_step() {
    let services = Services::start(Launch::default(), &victim());
    let worker = &services.worker;
    estimates_come("at first", worker).await;
    let info = worker.client().await.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    let ended = RequestEnded { request_id: "nobody".into(), finish_reason: 1, output_length: 3 };
    let forged = StreamStepsRequest { ended: vec![ended], ..message(NAME, info.epoch, 1_000_000_000) };
    let (answers, end) = tell(services.predictor.client().await, vec![forged]).await;
    println!("a forged sequence number: {} answers, {:?}", answers.len(), end.map(|status| status.code()));
    estimates_come("the worker", worker).await;
    all_acknowledged(worker).await;
    let before = services.predictor.metric("log_lines_total").await;
    let mut request = chat("after", "Hello.", 1, 50);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    generate(worker.client().await, request).await.unwrap();
    until("its 50 tokens are logged", PATIENCE, async || {
        services.predictor.metric("log_lines_total").await - before >= 50.0
    })
    .await;
}
