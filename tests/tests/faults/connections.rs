//! Connections and streams that somebody opens and does nothing with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eoscast_pair::client::chat;
use eoscast_pair::process::Process;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::clients::{Clients, failures, one};
use crate::support::http::{self, HOME, stranger};
use crate::support::services::{Launch, Services};
use crate::support::{frames, resources, until};

const GENERATE: &str = "/eoscast.worker.v1.WorkerService/Generate";
const STREAM_STEPS: &str = "/eoscast.predictor.v1.PredictorService/StreamSteps";
/// Beyond this, connections are kept without a bound that deserves the name, in MB.
const MOST_KEPT_MB: f64 = 256.0;
/// How soon a client that is no stranger must get an answer of `/health`.
const ANSWERED: Duration = Duration::from_secs(2);

/// As many connections as the server and the system give, each with `bytes` sent.
async fn open(to: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let opened = tokio::time::timeout(Duration::from_secs(5), http::connect(stranger(2), to)).await;
        let Ok(Ok(mut connection)) = opened else { break };
        // It may be closed already.
        let _ = connection.write_all(bytes).await;
        connections.push(connection);
    }
    connections
}

/// Whether the other side has closed it.
fn is_closed(connection: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match connection.try_read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// A call of each service: its name, where it is answered, its path, and who answers.
fn calls(services: &Services) -> [(&'static str, SocketAddr, &'static str, &Process); 2] {
    let (worker, predictor) = (&services.worker, &services.predictor);
    [
        ("Generate at the worker", worker.grpc, GENERATE, &worker.process),
        ("StreamSteps at the predictor", predictor.grpc, STREAM_STEPS, &predictor.process),
    ]
}

async fn is_healthy(page: SocketAddr) -> bool {
    let answer = tokio::time::timeout(ANSWERED, http::get(HOME, page, "/health")).await;
    matches!(answer, Ok(Ok(answer)) if answer.status == 200)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn at_the_limit_of_descriptors_health_and_metrics_answer_and_no_core_is_busy() {
    const DESCRIPTORS: usize = 200;
    let limit = format!("--nofile={DESCRIPTORS}");
    let limited = Launch::default().under(&["prlimit", &limit]);
    let services = Services::start(limited.clone(), &limited);
    let (worker, predictor) = (&services.worker, &services.predictor);
    let mut bad = Vec::new();
    let flooded: [(&str, SocketAddr, &Process); 4] = [
        ("the worker's HTTP port", worker.http, &worker.process),
        ("the worker's gRPC port", worker.grpc, &worker.process),
        ("the predictor's gRPC port", predictor.grpc, &predictor.process),
        ("the predictor's metrics port", predictor.metrics, &predictor.process),
    ];
    for (what, addr, process) in flooded {
        let lines = process.log().lines().count();
        let connections = open(addr, DESCRIPTORS + 100, b"").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let busy = resources::busy_cores(process, Duration::from_secs(2)).await;
        let (healthy, measured) = (is_healthy(worker.http).await, is_healthy(predictor.metrics).await);
        let said = process.log().lines().count() - lines;
        println!(
            "{} connections held to {what}: {busy:.2} cores busy, {} descriptors, {said} log lines; /health of the worker {}, of \
             the predictor {}",
            connections.len(),
            resources::descriptors(process),
            if healthy { "answers" } else { "is dead" },
            if measured { "answers" } else { "is dead" },
        );
        if busy > 0.5 || !healthy || !measured || said > 50 {
            bad.push(what);
        }
        drop(connections);
        until("both answer again", Duration::from_secs(20), async || {
            is_healthy(worker.http).await && is_healthy(predictor.metrics).await
        })
        .await;
    }
    let reply = one(worker.grpc, chat("after", "Hello.", 1, 8)).await;
    assert!(reply.reply.is_ok(), "{:?}", failures(&[reply]));
    assert!(bad.is_empty(), "spoiled by connections to {bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn half_sent_requests_are_closed() {
    const EACH: usize = 50;
    const PATIENCE: Duration = Duration::from_secs(60);
    let services = Services::start(Launch::default(), &Launch::default());
    let (worker, predictor) = (&services.worker, &services.predictor);
    let header = b"GET /health HTTP/1.1\r\nx: ".as_slice();
    let half_body =
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
            .as_slice();
    // What is sent, and whether a byte more comes from time to time, so that the connection is never idle.
    let cases: [(&str, SocketAddr, &[u8], bool); 8] = [
        ("half a header, worker", worker.http, header, true),
        ("half a body, worker", worker.http, half_body, true),
        ("nothing at all, worker HTTP", worker.http, b"", false),
        ("half a preface, worker", worker.grpc, &frames::PREFACE[..12], false),
        ("nothing at all, worker gRPC", worker.grpc, b"", false),
        ("half a preface, predictor", predictor.grpc, &frames::PREFACE[..12], false),
        ("nothing at all, predictor gRPC", predictor.grpc, b"", false),
        ("half a header, predictor metrics", predictor.metrics, header, true),
    ];
    let mut held = Vec::new();
    for (what, addr, bytes, trickles) in cases {
        held.push((what, open(addr, EACH, bytes).await, trickles, None));
    }
    let (start, mut next_byte) = (Instant::now(), Duration::from_secs(5));
    while start.elapsed() < PATIENCE && held.iter().any(|(.., closed)| closed.is_none()) {
        let comes = start.elapsed() > next_byte;
        next_byte += if comes { Duration::from_secs(5) } else { Duration::ZERO };
        for (_, connections, trickles, closed) in &mut held {
            if comes && *trickles {
                // It may be closed already.
                connections.iter().for_each(|connection| drop(connection.try_write(b"a")));
            }
            if closed.is_none() && connections.iter().all(is_closed) {
                *closed = Some(start.elapsed().as_secs_f64());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (what, connections, _, closed) in &held {
        let closed = closed.map_or("not after a minute".to_owned(), |seconds| format!("after {seconds:.1} s"));
        println!("{} connections with {what}: closed {closed}", connections.len());
    }
    let open: Vec<_> = held.iter().filter(|(.., closed)| closed.is_none()).map(|(what, ..)| what).collect();
    assert!(open.is_empty(), "still open: {open:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn streams_of_a_connection_are_bounded() {
    const STREAMS: u32 = 5000;
    let services = Services::start(Launch::default(), &Launch::default());
    let worker = &services.worker;
    let mut bad = Vec::new();
    for (what, addr, path, process) in calls(&services) {
        let before = resources::resident_mb(process);
        let mut connection = http::connect(stranger(2), addr).await.unwrap();
        let allowed = frames::most_streams(&frames::begin(&mut connection, true).await.unwrap());
        let mut sent = 0;
        for number in 0..STREAMS {
            let call = frames::call(1 + 2 * number, path);
            let written = tokio::time::timeout(Duration::from_secs(1), connection.write_all(&call));
            if !matches!(written.await, Ok(Ok(()))) {
                break;
            }
            sent += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let grown = resources::resident_mb(process) - before;
        let reply = one(worker.grpc, chat("", "Hello.", 1, 8)).await.reply;
        println!("{sent} unfinished calls of {what} on one connection, {allowed:?} allowed: {grown:.0} MB more");
        if allowed.is_none_or(|most| most > 1024) || grown > 64.0 || reply.is_err() {
            bad.push(what);
        }
    }
    assert!(bad.is_empty(), "without a bound: {bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn half_sent_messages_are_kept_to_a_bound() {
    const CONNECTIONS: usize = 12;
    const STREAMS: u32 = 32;
    let services = Services::start(Launch::default(), &Launch::default());
    let worker = &services.worker;
    let mut bad = Vec::new();
    for (what, addr, path, process) in calls(&services) {
        let before = resources::resident_mb(process);
        let (mut connections, mut sent) = (Vec::new(), 0);
        for _ in 0..CONNECTIONS {
            let mut connection = http::connect(stranger(2), addr).await.unwrap();
            if frames::begin(&mut connection, true).await.is_err() {
                break;
            }
            let mut bytes = Vec::new();
            for number in 0..STREAMS {
                let stream = 1 + 2 * number;
                // All but the last of 4 MB.
                bytes.extend(frames::call(stream, path));
                bytes.extend(frames::data(stream, &[&[0][..], &4_000_000_u32.to_be_bytes()].concat(), false));
                for _ in 0..3_990_000 / 16_384 {
                    bytes.extend(frames::data(stream, &[0; 16_384], false));
                }
                let written = tokio::time::timeout(Duration::from_secs(2), connection.write_all(&bytes)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break;
                }
                sent += bytes.len();
                bytes.clear();
            }
            connections.push(connection);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let kept = resources::resident_mb(process) - before;
        let reply = one(worker.grpc, chat("", "Hello.", 1, 8)).await.reply;
        drop(connections);
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!(
            "{CONNECTIONS} connections with {STREAMS} half-sent messages of 4 MB each to {what}: {:.0} MB sent, {kept:.0} MB more, \
             {:.0} MB more once they are closed",
            sent as f64 / 1e6,
            resources::resident_mb(process) - before
        );
        if kept > MOST_KEPT_MB || reply.is_err() {
            bad.push(what);
        }
    }
    assert!(bad.is_empty(), "without a bound: {bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn calls_opened_and_cancelled_at_once_leave_nothing_behind() {
    let services = Services::start(Launch::default(), &Launch::default());
    let worker = &services.worker;
    let polite = Clients::start(worker.grpc, "polite", 2, 32);
    let mut request = chat("", "Hello.", 1, 500);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let (start, mut calls, mut connections) = (Instant::now(), 0_u32, 0);
    while start.elapsed() < Duration::from_secs(8) {
        connections += 1;
        let mut connection = http::connect(stranger(2), worker.grpc).await.unwrap();
        if frames::begin(&mut connection, true).await.is_err() {
            continue;
        }
        let mut stream = 1;
        while start.elapsed() < Duration::from_secs(8) && !is_closed(&connection) {
            let one = |stream| {
                [frames::call(stream, GENERATE), frames::message(stream, &request, true), frames::cancel(stream)]
            };
            let bytes: Vec<u8> = (0..50).flat_map(|at| one(stream + 2 * at)).flatten().collect();
            let written = tokio::time::timeout(Duration::from_secs(1), connection.write_all(&bytes)).await;
            if !matches!(written, Ok(Ok(()))) {
                break;
            }
            (stream, calls) = (stream + 100, calls + 50);
        }
    }
    let outcomes = polite.finish().await;
    let left = until("nothing runs", Duration::from_secs(10), async || {
        let load = worker.load().await;
        (load.running_requests, load.waiting_requests, load.kv_blocks_used) == (0, 0, 0)
    })
    .await;
    println!(
        "{calls} calls opened and cancelled in 8 s over {connections} connections: nothing runs after {left:.1} s; peak {:.0} MB; \
         another client meanwhile: {} requests, {} failed",
        resources::peak_mb(&worker.process),
        outcomes.len(),
        failures(&outcomes).len()
    );
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
}
