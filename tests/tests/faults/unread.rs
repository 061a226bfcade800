//! Clients that do not read what they asked for, and clients that leave.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eoscast_proto::predictor::v1::StreamStepsRequest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::clients::{Clients, failures};
use crate::support::http::{self, stranger};
use crate::support::services::{Launch, Services, Worker};
use crate::support::steps::{event, message, now_micros, started};
use crate::support::{frames, resources, until};

/// Beyond this, unread bytes are kept without a bound that deserves the name, in MB.
const MOST_KEPT_MB: f64 = 192.0;
const PATIENCE: Duration = Duration::from_secs(120);

async fn unread(addr: SocketAddr, body: &str) -> TcpStream {
    let mut connection = http::connect_narrow(stranger(2), addr).await.unwrap();
    connection.write_all(&http::post_bytes("/v1/completions", body)).await.unwrap();
    connection
}

async fn all_is_made(worker: &Worker) -> f64 {
    tokio::time::sleep(Duration::from_secs(2)).await;
    2.0 + until("no reply is made any more", PATIENCE, async || {
        let load = worker.load().await;
        load.running_requests + load.waiting_requests == 0
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn unread_replies_are_kept_to_a_bound_and_then_aborted() {
    // Else the cache's pages, which a process keeps once they are touched, would hide what is kept beside them.
    let services = Services::start(Launch::default(), &Launch::with(&["--kv-tokens", "4096"]));
    let worker = &services.worker;
    let warm = Clients::start(worker.grpc, "warm", 16, 256);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(failures(&warm.finish().await).is_empty());
    let cases = [
        (
            "24 replies of 768 tokens",
            24,
            r#"{"prompt":"A long story","max_tokens":768,"stream":true,"ignore_eos":true,"logprobs":20}"#,
        ),
        (
            "1 reply of 64 choices of 300 tokens",
            1,
            r#"{"prompt":"A","n":64,"max_tokens":300,"stream":true,"ignore_eos":true,"logprobs":20}"#,
        ),
        (
            "1 whole reply of 64 choices of 300 tokens",
            1,
            r#"{"prompt":"A","n":64,"max_tokens":300,"ignore_eos":true,"logprobs":5}"#,
        ),
    ];
    for (what, count, body) in cases {
        let before = resources::resident_mb(&worker.process);
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(unread(worker.http, body).await);
        }
        let seconds = all_is_made(worker).await;
        let kept = resources::resident_mb(&worker.process) - before;
        let used = worker.load().await.kv_blocks_used;
        drop(connections);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let left = resources::resident_mb(&worker.process) - before;
        println!(
            "{what}, unread: {seconds:.0} s, {kept:.0} MB kept, {used} KV blocks used, {left:.0} MB left once they are closed; \
             peak {:.0} MB",
            resources::peak_mb(&worker.process)
        );
        assert_eq!(used, 0, "no KV block waits for a reader");
        assert!(kept < MOST_KEPT_MB, "{kept} MB are kept for {what}");
    }
}

/// Sends steps of all `ids` until the predictor takes no more, closes, or has got enough, and reads no estimate. Gives the bytes
/// sent.
async fn send_steps_unread(addr: SocketAddr, worker_id: String, ids: Vec<String>) -> (usize, TcpStream) {
    const ENOUGH: usize = 60_000_000;
    let mut connection = http::connect(stranger(2), addr).await.unwrap();
    let call = frames::call(1, "/eoscast.predictor.v1.PredictorService/StreamSteps");
    frames::begin(&mut connection, false).await.unwrap();
    connection.write_all(&call).await.unwrap();
    let (epoch, mut sent, mut number) = (now_micros(), 0, 0);
    while sent < ENOUGH {
        number += 1;
        let told = StreamStepsRequest {
            started: if number == 1 { ids.iter().map(|id| started(id)).collect() } else { vec![] },
            events: if number == 1 { vec![] } else { ids.iter().map(|id| event(id, number as u32)).collect() },
            ..message(&worker_id, epoch, number)
        };
        let bytes = frames::message(1, &told, false);
        match tokio::time::timeout(Duration::from_secs(5), connection.write_all(&bytes)).await {
            Ok(Ok(())) => sent += bytes.len(),
            _ => break,
        }
    }
    (sent, connection)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn estimates_that_nobody_reads_are_kept_to_a_bound() {
    const STREAMS: usize = 8;
    const REQUESTS: usize = 2000;
    let services = Services::start(Launch::with(&["--enable-eos-prob-logging", "false"]), &Launch::default());
    let predictor = &services.predictor;
    let before = resources::resident_mb(&predictor.process);
    let ids: Vec<String> = (0..REQUESTS).map(|number| format!("r{number}")).collect();
    let mut senders = JoinSet::new();
    for stream in 0..STREAMS {
        senders.spawn(send_steps_unread(predictor.grpc, format!("unread{stream}"), ids.clone()));
    }
    let (sent, _connections): (Vec<usize>, Vec<TcpStream>) = senders.join_all().await.into_iter().unzip();
    let sent: usize = sent.into_iter().sum();
    let kept = resources::resident_mb(&predictor.process) - before;
    println!(
        "{STREAMS} streams that read no estimate: {:.0} MB sent, {kept:.0} MB kept, peak {:.0} MB",
        sent as f64 / 1e6,
        resources::peak_mb(&predictor.process)
    );
    assert!(kept < MOST_KEPT_MB, "{kept} MB are kept");
    let clients = Clients::start(services.worker.grpc, "beside", 2, 32);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcomes = clients.finish().await;
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert!(
        outcomes.iter().flat_map(|outcome| &outcome.reply).any(|(_, estimates)| *estimates > 0),
        "others get estimates"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_client_that_leaves_with_bytes_in_the_pipe_is_noticed() {
    let services = Services::start(Launch::default(), &Launch::default());
    let body = r#"{"prompt":"A long story","max_tokens":2000,"ignore_eos":true}"#;
    let mut connection = http::connect(stranger(2), services.worker.http).await.unwrap();
    // A second request behind the first, which the server has not read while the client leaves.
    let bytes =
        [http::post_bytes("/v1/completions", body).as_slice(), b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
    connection.write_all(&bytes).await.unwrap();
    until("it runs", PATIENCE, async || services.worker.load().await.running_requests == 1).await;
    drop(connection);
    let left = Instant::now();
    let tokens = http::metric(services.worker.http, "eoscast_generation_tokens_total").await;
    until("the request is gone", PATIENCE, async || services.worker.load().await.running_requests == 0).await;
    let made = http::metric(services.worker.http, "eoscast_generation_tokens_total").await - tokens;
    println!(
        "a client left with bytes in the pipe: {made} tokens and {:.1} s until it was noticed",
        left.elapsed().as_secs_f64()
    );
    assert!(made < 500.0, "{made} tokens were made for nobody");
}
