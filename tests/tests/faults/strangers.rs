//! A worker that is none, watchers, and ReloadModel: what one of them does spoils nothing for the others.

use std::time::{Duration, Instant};

use eoscast_proto::predictor::v1 as pb;
use pb::predictor_service_client::PredictorServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::support::clients::{Clients, failures};
use crate::support::services::{Launch, Predictor, Services};
use crate::support::steps::{event, message, now_micros, started, tell};
use crate::support::{percentile, resources, until};

/// Starts of a worker, so many in each message.
fn starts(worker_id: &str, messages: u64, each: usize) -> Vec<pb::StreamStepsRequest> {
    let epoch = now_micros();
    let one = |number| pb::StreamStepsRequest {
        started: (0..each).map(|request| started(&format!("{number}-{request}"))).collect(),
        ..message(worker_id, epoch, number)
    };
    (1..=messages).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn starts_of_one_worker_take_no_place_of_another() {
    let services = Services::start(Launch::default(), &Launch::default());
    let predictor = &services.predictor;
    let before = resources::resident_mb(&predictor.process);
    let (answers, end) = tell(predictor.client().await, starts("flood", 70, 1024)).await;
    let live = predictor.metric("live_requests").await;
    let kept = resources::resident_mb(&predictor.process) - before;
    let clients = Clients::start(services.worker.grpc, "beside", 2, 32);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let outcomes = clients.finish().await;
    let estimates: usize = outcomes.iter().flat_map(|outcome| &outcome.reply).map(|(_, estimates)| estimates).sum();
    println!(
        "71,680 starts of one worker: {} messages taken, {:?}; {live} live, {kept:.0} MB more; another worker gets {estimates} \
         estimates in {} requests, {} failed",
        answers.len(),
        end.map(|status| status.code()),
        outcomes.len(),
        failures(&outcomes).len()
    );
    assert!(estimates > 10, "the other worker gets estimates");
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn forged_outcomes_move_the_prior_of_others_little() {
    let services = Services::start(Launch::default(), &Launch::default());
    let predictor = &services.predictor;
    let mean = async || {
        let model = predictor.client().await.get_model(pb::GetModelRequest {}).await.unwrap().into_inner();
        model.prior.unwrap().mean
    };
    // A worker with outcomes of its own.
    let clients = Clients::start(services.worker.grpc, "honest", 16, 64);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(failures(&clients.finish().await).is_empty());
    let before = mean().await;
    let epoch = now_micros();
    let ids: Vec<String> = (0..3000).map(|number| format!("forged{number}")).collect();
    let start = pb::StreamStepsRequest {
        started: ids.iter().map(|id| pb::RequestStarted { max_tokens: u32::MAX, ..started(id) }).collect(),
        ..message("forger", epoch, 1)
    };
    let end = pb::StreamStepsRequest {
        ended: ids
            .iter()
            .map(|id| pb::RequestEnded { request_id: id.clone(), finish_reason: 1, output_length: u32::MAX })
            .collect(),
        ..message("forger", epoch, 2)
    };
    let (answers, status) = tell(predictor.client().await, vec![start, end]).await;
    let after = mean().await;
    println!(
        "3,000 forged outcomes of 2^32-1 tokens: {} messages taken, {:?}; the prior's mean goes from {before:.0} to {after:.0}",
        answers.len(),
        status.map(|status| status.code())
    );
    assert!(after < 3.0 * before.max(100.0), "from {before} to {after}");
}

/// A worker by hand whose messages are answered one by one.
struct ByHand {
    messages: mpsc::Sender<pb::StreamStepsRequest>,
    answers: tonic::Streaming<pb::StreamStepsResponse>,
    epoch: u64,
    number: u64,
}

impl ByHand {
    async fn start(mut client: PredictorServiceClient<Channel>) -> Self {
        let (messages, receiver) = mpsc::channel(4);
        let epoch = now_micros();
        let first = pb::StreamStepsRequest { started: vec![started("x")], ..message("real", epoch, 1) };
        messages.send(first).await.unwrap();
        let answers = client.stream_steps(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut this = Self { messages, answers, epoch, number: 1 };
        this.next_estimate().await;
        this
    }

    async fn next_estimate(&mut self) {
        while self.answers.message().await.unwrap().unwrap().estimates.is_empty() {}
    }

    /// Seconds from a step to its estimate.
    async fn step(&mut self) -> f64 {
        self.number += 1;
        let step = event("x", self.number as u32);
        let start = Instant::now();
        let told = pb::StreamStepsRequest { events: vec![step], ..message("real", self.epoch, self.number) };
        self.messages.send(told).await.unwrap();
        self.next_estimate().await;
        start.elapsed().as_secs_f64()
    }

    async fn steps(&mut self, count: usize) -> Vec<f64> {
        let mut seconds = Vec::new();
        for _ in 0..count {
            seconds.push(self.step().await);
        }
        seconds
    }
}

async fn watch(client: PredictorServiceClient<Channel>) -> Result<(), Status> {
    // The first message has all live requests.
    let mut client = client.max_decoding_message_size(256 << 20);
    let interval = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let request = pb::WatchRequestsRequest { interval, ..Default::default() };
    let mut stream = client.watch_requests(Request::new(request)).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn watchers_of_many_requests_delay_no_estimate() {
    let folder = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(&folder.path().join("data"), Launch::default());
    let mut fillers = Vec::new();
    for worker in 0..126 {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(starts(&format!("filler{worker}"), 1, 500).remove(0)).await.unwrap();
        let mut client = predictor.client().await;
        fillers.push((client.stream_steps(ReceiverStream::new(receiver)).await.unwrap(), sender));
    }
    until("all are live", Duration::from_secs(20), async || predictor.metric("live_requests").await >= 60_000.0).await;
    let mut worker = ByHand::start(predictor.client().await).await;
    let alone = worker.steps(50).await;
    let mut watchers = Vec::new();
    for _ in 0..4 {
        watchers.push(tokio::spawn(watch(predictor.client().await)));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = resources::cpu_seconds(&predictor.process);
    let began = Instant::now();
    let watched = worker.steps(50).await;
    let busy = (resources::cpu_seconds(&predictor.process) - before) / began.elapsed().as_secs_f64();
    println!(
        "63,000 live requests: step to estimate {:.2} ms at the median without a watcher; with 4 watchers each 20 ms {:.2} ms, \
         {:.0} ms at most; {busy:.2} cores busy; peak {:.0} MB",
        1e3 * percentile(&alone, 50.0),
        1e3 * percentile(&watched, 50.0),
        1e3 * percentile(&watched, 100.0),
        resources::peak_mb(&predictor.process)
    );
    assert!(!watchers.iter().any(|watcher| watcher.is_finished()), "a watcher was refused or cut");
    watchers.iter().for_each(|watcher| watcher.abort());
    assert!(percentile(&watched, 50.0) < 0.05, "the median estimate is late");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn reload_model_tells_nothing_of_files_and_opens_nothing_but_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let mut predictor = Predictor::start(&folder.path().join("data"), Launch::default());
    let secret = folder.path().join("secret.json");
    std::fs::write(&secret, r#"{"password":"top-secret-value","x":1}"#).unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let paths = [
        "/nonexistent".to_owned(),
        "/etc/passwd".to_owned(),
        "../../../etc/hostname".to_owned(),
        "/proc/self/environ".to_owned(),
        "/dev/null".to_owned(),
        secret.display().to_string(),
        fifo.display().to_string(),
        "/dev/zero".to_owned(),
    ];
    let (mut said, mut slow) = (Vec::new(), Vec::new());
    for path in paths {
        let (start, mut client) = (Instant::now(), predictor.client().await);
        let call = client.reload_model(pb::ReloadModelRequest { artifact: path.clone() });
        let answer = tokio::time::timeout(Duration::from_secs(5), call).await;
        let shown = match answer {
            Ok(Ok(_)) => "accepted".to_owned(),
            Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(_) => {
                slow.push(path.clone());
                "no answer".to_owned()
            }
        };
        println!(
            "ReloadModel {path}: {:.2} s, peak {:.0} MB, {shown}",
            start.elapsed().as_secs_f64(),
            resources::peak_mb(&predictor.process)
        );
        said.push(shown.replace(&path, ""));
    }
    let peak = resources::peak_mb(&predictor.process);
    let start = Instant::now();
    predictor.process.terminate().unwrap();
    let ended = predictor.process.wait(Duration::from_secs(15)).is_ok();
    println!(
        "SIGTERM afterwards: {}",
        if ended { format!("{:.2} s", start.elapsed().as_secs_f64()) } else { "never ends".into() }
    );
    assert!(slow.is_empty(), "no answer for {slow:?}");
    assert!(peak < 200.0, "{peak} MB");
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), 1, "the answers tell which files exist and what is in them: {said:#?}");
    assert!(ended && start.elapsed() < Duration::from_secs(11));
}
