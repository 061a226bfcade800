//! HTTP, and clients of OpenAI's API that run all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eoscast_pair::prompts::PROMPTS;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long a client that was refused waits before its next request.
const PAUSE: Duration = Duration::from_millis(50);

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into()
}

/// The body of a page, whatever its status; empty if there is no answer.
pub(crate) fn get(to: SocketAddr, path: &str) -> String {
    get_with(to, path, &[])
}

/// The same with a query.
pub(crate) fn get_with(to: SocketAddr, path: &str, query: &[(&str, &str)]) -> String {
    let request = agent().get(format!("http://{to}{path}")).query_pairs(query.iter().copied());
    request.call().and_then(|mut answer| answer.body_mut().read_to_string()).unwrap_or_default()
}

/// What became of one request.
pub(crate) struct HttpOutcome {
    pub(crate) began: Instant,
    /// Why it failed: the status, if there was one.
    pub(crate) error: Option<ureq::Error>,
}

/// Clients that send one request after the other on connections that they keep.
pub(crate) struct HttpClients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<HttpOutcome>>>,
}

impl HttpClients {
    /// So many at a time, for replies of `max_tokens` tokens.
    pub(crate) fn start(to: SocketAddr, count: usize, max_tokens: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..count).map(|client| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let (agent, mut outcomes) = (agent(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let (_, prompt) = PROMPTS[(client + outcomes.len()) % PROMPTS.len()];
                    let outcome = complete(&agent, to, prompt, max_tokens);
                    if outcome.error.is_some() {
                        thread::sleep(PAUSE);
                    }
                    outcomes.push(outcome);
                }
                outcomes
            })
        });
        let threads = clients.collect();
        Self { stop, threads }
    }

    /// Lets the requests that run end, and gives all outcomes.
    pub(crate) async fn finish(self) -> Vec<HttpOutcome> {
        self.stop.store(true, Ordering::Relaxed);
        let join = || self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        tokio::task::spawn_blocking(join).await.unwrap()
    }
}

fn complete(agent: &ureq::Agent, to: SocketAddr, prompt: &str, max_tokens: u32) -> HttpOutcome {
    let body = serde_json::json!({"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true}).to_string();
    let began = Instant::now();
    let request = agent.post(format!("http://{to}/v1/completions")).content_type("application/json");
    let answer = request.send(&body).and_then(|mut answer| answer.body_mut().read_to_string());
    HttpOutcome { began, error: answer.err() }
}

/// The failed requests, shown.
pub(crate) fn failures(outcomes: &[HttpOutcome]) -> Vec<String> {
    outcomes.iter().filter_map(|outcome| Some(outcome.error.as_ref()?.to_string())).collect()
}
