//! Clients that behave well, all the time: one request after the other, each reply read to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eoscast_pair::client::{chat, generate};
use eoscast_pair::pair::connect;
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::worker::v1::GenerateRequest;
use eoscast_proto::worker::v1::worker_service_client::WorkerServiceClient;
use tokio::task::JoinSet;
use tonic::Status;

/// How long a client that was refused waits before its next request.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of one request.
pub(crate) struct Outcome {
    pub(crate) request_id: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Its tokens and how many of its chunks carried an estimate.
    pub(crate) reply: Result<(Vec<u32>, usize), Status>,
}

/// Clients of one worker.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Outcome>>,
}

impl Clients {
    /// So many at a time. Request ids begin with `tag`; a reply ends by itself or after `max_tokens`.
    pub(crate) fn start(worker: SocketAddr, tag: &str, count: usize, max_tokens: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..count {
            let (stop, tag) = (Arc::clone(&stop), format!("{tag}-{client}"));
            tasks.spawn(async move {
                let mut outcomes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = outcomes.len();
                    let prompt = PROMPTS[(client + number) % PROMPTS.len()].1;
                    let seed = (client * 1000 + number) as u64;
                    let request = chat(&format!("{tag}-{number}"), prompt, seed, max_tokens);
                    let outcome = one(worker, request).await;
                    let failed = outcome.reply.is_err();
                    outcomes.push(outcome);
                    if failed {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                outcomes
            });
        }
        Self { stop, tasks }
    }

    /// Lets the requests that run end, and gives all outcomes.
    pub(crate) async fn finish(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// One request on a connection of its own.
pub(crate) async fn one(worker: SocketAddr, request: GenerateRequest) -> Outcome {
    let (request_id, began) = (request.request_id.clone(), Instant::now());
    let reply = match connect(worker).await {
        Ok(channel) => generate(WorkerServiceClient::new(channel), request).await,
        Err(error) => Err(Status::unavailable(format!("{error:#}"))),
    };
    let reply = reply.map(|reply| (reply.tokens, reply.estimates.iter().flatten().count()));
    Outcome { request_id, began, ended: Instant::now(), reply }
}

/// The failed requests, shown.
pub(crate) fn failures(outcomes: &[Outcome]) -> Vec<String> {
    let failed = outcomes.iter().filter_map(|outcome| {
        let status = outcome.reply.as_ref().err()?;
        Some(format!("{}: {:?} {}", outcome.request_id, status.code(), status.message()))
    });
    failed.collect()
}

/// Tokens of all replies.
pub(crate) fn tokens(outcomes: &[Outcome]) -> usize {
    outcomes.iter().flat_map(|outcome| &outcome.reply).map(|(tokens, _)| tokens.len()).sum()
}
