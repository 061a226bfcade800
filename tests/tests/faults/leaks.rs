//! Thousands of short requests and hundreds of aborted ones: memory, descriptors and KV blocks come back to where they were.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::support::http::{self, HOME};
use crate::support::services::{Launch, Services};
use crate::support::{resources, until};

const SHORT: usize = 3000;
const ABORTED: usize = 500;
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// What fragments of a heap may take, in MB.
const SLACK_MB: f64 = 96.0;

#[derive(Debug)]
#[allow(dead_code, reason = "shown")]
struct Held {
    worker_mb: f64,
    worker_descriptors: usize,
    predictor_mb: f64,
    predictor_descriptors: usize,
}

async fn held(services: &Services) -> Held {
    let (worker, predictor) = (&services.worker, &services.predictor);
    until("nothing runs and no block is used", PATIENCE, async || {
        let load = worker.load().await;
        (load.running_requests, load.waiting_requests, load.kv_blocks_used) == (0, 0, 0)
    })
    .await;
    until("no request is live", PATIENCE, async || predictor.metric("live_requests").await == 0.0).await;
    // Connections that clients closed are closed here too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Held {
        worker_mb: resources::resident_mb(&worker.process),
        worker_descriptors: resources::descriptors(&worker.process),
        predictor_mb: resources::resident_mb(&predictor.process),
        predictor_descriptors: resources::descriptors(&predictor.process),
    }
}

/// Runs `count` of `one`, several at a time.
async fn many<F: Future<Output = ()> + Send + 'static>(count: usize, one: impl Fn(usize) -> F) {
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(one(number));
    }
    running.join_all().await;
}

async fn short_requests(services: &Services, count: usize) {
    let addr = services.worker.http;
    many(count, move |number| async move {
        let body = format!(r#"{{"prompt":"Word {number}","max_tokens":{},"seed":{number}}}"#, 1 + number % 4);
        let answer = http::post(HOME, addr, "/v1/completions", &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

async fn aborted_requests(services: &Services, count: usize) {
    let addr = services.worker.http;
    many(count, move |number| async move {
        let body = format!(r#"{{"prompt":"A long story {number}","max_tokens":700,"stream":true,"ignore_eos":true}}"#);
        let mut connection = http::connect(HOME, addr).await.unwrap();
        connection.write_all(&http::post_bytes("/v1/completions", &body)).await.unwrap();
        let mut first = [0; 500];
        assert!(connection.read(&mut first).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(number as u64 * 7919 % 300)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn three_thousand_short_and_five_hundred_aborted_requests_leave_nothing_behind() {
    // A cache whose pages are all touched by the first requests.
    let services = Services::start(Launch::default(), &Launch::with(&["--kv-tokens", "4096"]));
    short_requests(&services, 200).await;
    aborted_requests(&services, 4 * AT_ONCE).await;
    let start = held(&services).await;
    println!("after 200 requests: {start:?}");
    for (what, count) in [("short", SHORT), ("aborted", ABORTED)] {
        let began = Instant::now();
        if what == "short" {
            short_requests(&services, count).await;
        } else {
            aborted_requests(&services, count).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let now = held(&services).await;
        println!("after {count} {what} requests in {seconds:.1} s: {now:?}");
        assert!(now.worker_mb < start.worker_mb + SLACK_MB, "the worker keeps memory");
        assert!(now.predictor_mb < start.predictor_mb + SLACK_MB, "the predictor keeps memory");
        assert!(now.worker_descriptors <= start.worker_descriptors, "the worker keeps descriptors");
        assert!(now.predictor_descriptors <= start.predictor_descriptors, "the predictor keeps descriptors");
    }
}
