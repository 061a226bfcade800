//! Long texts and long lists of numbers, from many clients at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::clients::{Clients, failures, tokens};
use crate::support::http::{self, stranger};
use crate::support::resources;
use crate::support::services::{Launch, Worker};

const BYTES: usize = 3_900_000;
/// Beyond this, work that waits is kept without a bound that deserves the name, in MB.
const MOST_KEPT_MB: f64 = 512.0;
const FLOOD: Duration = Duration::from_secs(6);

/// Letters that make no words, the same at each call.
pub(crate) fn letters() -> String {
    let mut state = 1_u64;
    let letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (state >> 33) as u8 % 26)
    };
    std::iter::repeat_with(letter).take(BYTES).collect()
}

fn numbers() -> String {
    vec!["1"; BYTES / 2].join(",")
}

/// Posts `body` from so many clients for a while; each leaves after half a second, so that its work is for nobody.
async fn flood(addr: SocketAddr, path: &'static str, body: String, clients: u8) {
    let (body, start) = (Arc::new(body), Instant::now());
    let mut running = JoinSet::new();
    for client in 0..clients {
        let body = Arc::clone(&body);
        running.spawn(async move {
            while start.elapsed() < FLOOD {
                let request = http::post(stranger(2 + client % 4), addr, path, &body);
                // Refused, answered, cut, or left: whatever comes of it.
                let _ = tokio::time::timeout(Duration::from_millis(500), request).await;
            }
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn texts_that_fit_no_context_take_no_memory_and_no_work_goes_on_for_who_left() {
    let text = letters();
    let cases = [
        ("64 clients of /tokenize with 3.9 MB of letters", "/tokenize", format!(r#"{{"prompt":"{text}"}}"#), 64),
        (
            "32 clients of /v1/completions with 3.9 MB of letters",
            "/v1/completions",
            format!(r#"{{"prompt":"{text}"}}"#),
            32,
        ),
        (
            "32 clients of /v1/completions with 3.9 MB of numbers",
            "/v1/completions",
            format!(r#"{{"prompt":[{}]}}"#, numbers()),
            32,
        ),
        (
            "32 clients of /detokenize with 3.9 MB of numbers",
            "/detokenize",
            format!(r#"{{"tokens":[{}]}}"#, numbers()),
            32,
        ),
    ];
    let mut grown = Vec::new();
    for (what, path, body, clients) in cases {
        let worker = Worker::start("none", &Launch::default());
        let polite = Clients::start(worker.grpc, "polite", 1, 32);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = resources::resident_mb(&worker.process);
        flood(worker.http, path, body, clients).await;
        let outcomes = polite.finish().await;
        let Some(_) = resources::resident_bytes(worker.process.id()) else {
            println!("{what}: the worker is dead");
            grown.push(what);
            continue;
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let busy = resources::busy_cores(&worker.process, Duration::from_secs(2)).await;
        let (peak, after) =
            (resources::peak_mb(&worker.process) - before, resources::resident_mb(&worker.process) - before);
        println!(
            "{what}: {peak:.0} MB more at the peak, {after:.0} MB more afterwards, {busy:.2} cores busy once they had left; \
             another client meanwhile: {} requests, {} tokens, {} failed",
            outcomes.len(),
            tokens(&outcomes),
            failures(&outcomes).len()
        );
        if peak > MOST_KEPT_MB || after > MOST_KEPT_MB / 2.0 || busy > 0.5 || !failures(&outcomes).is_empty() {
            grown.push(what);
        }
    }
    assert!(grown.is_empty(), "without a bound: {grown:?}");
}
