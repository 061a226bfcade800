//! SIGTERM, whoever holds what.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use eoscast_proto::predictor::v1 as pb;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::predictor::Predictor;
use crate::workload::{message, started};

/// Beyond the drain time, as operating/README.md promises.
const PROMISED: Duration = Duration::from_secs(5);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn saying(addr: &str, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(bytes).unwrap();
    socket
}

fn get(addr: &str, path: &str) -> String {
    let mut socket = saying(addr, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_within_five_seconds_whoever_holds_a_connection_and_keeps_what_it_received() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "127.0.0.1:0"]);
    let metrics = predictor.metrics_addr();
    let _raw = [
        saying(&predictor.addr, b""),
        saying(&predictor.addr, PREFACE),
        saying(&predictor.addr, &[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat()),
        saying(&metrics, b""),
        saying(&metrics, b"GET /metrics HTT"),
    ];
    let stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    let asked = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(predictor.channel().await).watch(asked).await.unwrap().into_inner();
    health.message().await.unwrap();
    let requests = pb::WatchRequestsRequest::default();
    let mut watch = predictor.client().await.watch_requests(requests).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let question = tokio_stream::once(ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    });
    let silent = tokio_stream::StreamExt::chain(question, tokio_stream::pending());
    let mut reflection = ServerReflectionClient::new(predictor.channel().await);
    let mut reflection = reflection.server_reflection_info(silent).await.unwrap().into_inner();
    reflection.message().await.unwrap();

    predictor.signal("TERM");
    let (code, took) = tokio::task::spawn_blocking(move || predictor.ended()).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took < PROMISED, "{took:?}");
    assert_eq!(crate::predictor::lines(data.path(), "starts-")[0]["request_id"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_so_on_every_name_before_streams_end() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "127.0.0.1:0", "--drain-delay", "3"]);
    let metrics = predictor.metrics_addr();
    assert!(get(&metrics, "/health").starts_with("HTTP/1.1 200"));
    let mut stream = predictor.stream().await;
    let mut health = HealthClient::new(predictor.channel().await);
    predictor.signal("TERM");
    predictor.wait_for_log("shutting down");
    for name in ["", "eoscast.predictor.v1.PredictorService", "eoscast.predictor.v1.EventLog"] {
        let status = loop {
            let answer = health.check(HealthCheckRequest { service: name.into() }).await.unwrap().into_inner();
            if answer.status() != ServingStatus::Serving {
                break answer.status();
            }
        };
        assert_eq!(status, ServingStatus::NotServing, "{name:?}");
    }
    assert!(get(&metrics, "/health").starts_with("HTTP/1.1 503"));
    stream.send(pb::StreamStepsRequest { started: vec![started("late")], ..message("w", 1) }).await;
    stream.acknowledged(1).await;
    let (code, _) = tokio::task::spawn_blocking(move || predictor.ended()).await.unwrap();
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--drain-delay", "600"]);
    predictor.signal("TERM");
    predictor.wait_for_log("shutting down");
    predictor.signal("TERM");
    assert_eq!(predictor.ended().0, Some(130));
}
