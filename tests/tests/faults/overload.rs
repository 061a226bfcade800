//! More requests than there are places: each gets its reply or is refused at once, and no client takes all places.

use std::time::{Duration, Instant};

use eoscast_pair::client::chat;
use eoscast_proto::worker::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::clients::{failures, one};
use crate::support::http::{self, HOME, stranger};
use crate::support::percentile;
use crate::support::services::{Launch, Services};

const AT_ONCE: usize = 400;
const QUEUE: &str = "100";

fn request(id: &str, max_tokens: u32) -> pb::GenerateRequest {
    let mut request = chat(id, "Tell me a tale.", 1, max_tokens);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    request
}

/// Seconds that `/health` takes, again and again for so long.
async fn health_seconds(addr: std::net::SocketAddr, over: Duration) -> Vec<f64> {
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while start.elapsed() < over {
        let began = Instant::now();
        assert_eq!(http::get(HOME, addr, "/health").await.unwrap().status, 200);
        seconds.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seconds
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn of_four_hundred_requests_at_once_each_is_served_or_refused_with_a_time_to_come_back() {
    let services = Services::start(Launch::default(), &Launch::with(&["--max-waiting", QUEUE]));
    let (grpc, web) = (services.worker.grpc, services.worker.http);
    let start = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..AT_ONCE {
        running.spawn(async move {
            if number % 2 == 0 {
                match one(grpc, request(&format!("r{number}"), 60)).await.reply {
                    Ok((tokens, _)) => assert_eq!(tokens.len(), 60),
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        assert!(!status.details().is_empty(), "retry info");
                        return "refused";
                    }
                }
            } else {
                let body = format!(r#"{{"prompt":"Tale {number}","max_tokens":60,"ignore_eos":true}}"#);
                let answer = http::post(HOME, web, "/v1/completions", &body).await.unwrap();
                if answer.status != 200 {
                    assert_eq!(answer.status, 429, "{}", answer.text);
                    assert!(answer.text.to_lowercase().contains("retry-after:"), "{}", answer.text);
                    return "refused";
                }
            }
            "served"
        });
    }
    let health = tokio::spawn(health_seconds(web, Duration::from_secs(5)));
    let ends = running.join_all().await;
    let (took, health) = (start.elapsed().as_secs_f64(), health.await.unwrap());
    let served = ends.iter().filter(|end| **end == "served").count();
    println!(
        "{AT_ONCE} requests at once, {QUEUE} places to wait: {served} served, {} refused, in {took:.1} s; /health {:.0} ms at P99",
        ends.len() - served,
        1e3 * percentile(&health, 99.0)
    );
    assert!((100..AT_ONCE).contains(&served), "{served}");
    assert!(percentile(&health, 99.0) < 1.0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_client_that_fills_the_queue_leaves_places_for_others() {
    let services = Services::start(Launch::default(), &Launch::with(&["--max-waiting", QUEUE, "--max-running", "8"]));
    let (grpc, web) = (services.worker.grpc, services.worker.http);
    let mut flood: JoinSet<()> = JoinSet::new();
    for number in 0..AT_ONCE {
        let body = format!(r#"{{"prompt":"Flood {number}","max_tokens":200,"ignore_eos":true}}"#);
        flood.spawn(async move {
            loop {
                // Served or refused: it comes again.
                let _ = http::post(stranger(2), web, "/v1/completions", &body).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let load = services.worker.load().await;
    let mut polite = Vec::new();
    for number in 0..4 {
        polite.push(one(grpc, request(&format!("polite{number}"), 16)).await);
    }
    let seconds: Vec<f64> = polite.iter().map(|outcome| (outcome.ended - outcome.began).as_secs_f64()).collect();
    println!(
        "a flood with {} running and {} waiting; four requests of another client one after the other: {seconds:.1?} s, {} refused",
        load.running_requests,
        load.waiting_requests,
        failures(&polite).len()
    );
    assert!(load.waiting_requests > 50, "the flood was too small to test anything");
    assert!(failures(&polite).is_empty(), "{:?}", failures(&polite));
    assert!(seconds.iter().all(|seconds| *seconds < 60.0), "{seconds:?}");
    flood.abort_all();
}
