//! SIGTERM: health says so, running requests end, both processes exit cleanly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use eoscast_pair::client::{chat, generate};
use eoscast_pair::log;
use eoscast_pair::pair::{Pair, PairOptions, connect};
use eoscast_pair::prompts::PROMPTS;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::until;

const DRAIN_SECONDS: u64 = 1;
/// Beyond the drain time, as operating/README.md promises.
const PROMISED: Duration = Duration::from_secs(5);

async fn health(client: &mut HealthClient<tonic::transport::Channel>) -> ServingStatus {
    let request = HealthCheckRequest { service: "eoscast.worker.v1.WorkerService".into() };
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_finishes_what_runs_and_refuses_the_rest() {
    let mut pair = Pair::start(&PairOptions::default()).unwrap();
    let mut checker = HealthClient::new(connect(pair.worker_addr).await.unwrap());
    assert_eq!(health(&mut checker).await, ServingStatus::Serving);
    let mut request = chat("running", PROMPTS[8].1, 1, 300);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let running = tokio::spawn(generate(pair.worker_client().await.unwrap(), request));
    let late = pair.worker_client().await.unwrap();
    let mut observer = pair.worker_client().await.unwrap();
    until("the request runs", async || {
        let loads = observer.get_loads(eoscast_proto::worker::v1::GetLoadsRequest {}).await.unwrap();
        loads.into_inner().load.unwrap().running_requests == 1
    })
    .await;
    pair.worker.terminate().unwrap();
    until("health says so", async || health(&mut checker).await == ServingStatus::NotServing).await;
    let refused = generate(late, chat("late", PROMPTS[0].1, 1, 8)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(running.await.unwrap().unwrap().tokens.len(), 300);
    drop((checker, observer));
    assert!(pair.worker.wait(Duration::from_secs(20)).unwrap().success(), "{}", pair.worker.log());

    pair.predictor.terminate().unwrap();
    assert!(pair.predictor.wait(Duration::from_secs(20)).unwrap().success(), "{}", pair.predictor.log());
    assert_eq!(log::steps(pair.data()).unwrap().len(), 300);
}

fn saying(addr: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket
}

fn post(body: &str, sent: usize) -> String {
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{}", body.len(), &body[..sent])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_by_the_drain_time_and_five_seconds_whoever_holds_a_connection() {
    let options = PairOptions::worker(&["--drain-timeout", &DRAIN_SECONDS.to_string()]);
    let mut pair = Pair::start(&options).unwrap();
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let endless = r#"{"prompt": "A", "max_tokens": 2000, "stream": true, "ignore_eos": true, "logprobs": 20}"#;
    let mut unread = saying(pair.http_addr, &post(endless, endless.len()));
    unread.read_exact(&mut [0; 12]).unwrap();
    let _held = [
        saying(pair.http_addr, ""),
        saying(pair.http_addr, "GET /health HTT"),
        saying(pair.http_addr, &post(endless, 1)),
        saying(pair.worker_addr, ""),
        saying(pair.worker_addr, preface),
        saying(pair.worker_addr, &format!("{preface}\0\0\0\x04\0\0\0\0\0")),
        unread,
    ];
    let asked = HealthCheckRequest { service: String::new() };
    let mut health =
        HealthClient::new(connect(pair.worker_addr).await.unwrap()).watch(asked).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut request = chat("unread", PROMPTS[8].1, 1, 2000);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let reply = pair.worker_client().await.unwrap().generate(request).await.unwrap();

    let began = Instant::now();
    pair.worker.terminate().unwrap();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(pair.worker.wait(Duration::from_secs(60)).unwrap().success(), "{}", pair.worker.log());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(DRAIN_SECONDS) + PROMISED, "{took:?}\n{}", pair.worker.log());
    drop(reply);
    until("the ends reach the predictor", async || log::requests(pair.data()).unwrap().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_requests_for_the_drain_delay_while_health_says_that_it_stops() {
    let mut pair = Pair::start(&PairOptions::worker(&["--drain-delay", "5", "--drain-timeout", "0"])).unwrap();
    let mut checker = HealthClient::new(connect(pair.worker_addr).await.unwrap());
    let client = pair.worker_client().await.unwrap();
    pair.worker.terminate().unwrap();
    until("health says so", async || health(&mut checker).await == ServingStatus::NotServing).await;
    let mut answer = [0; 12];
    saying(pair.http_addr, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    assert_eq!(generate(client, chat("late", PROMPTS[0].1, 1, 1)).await.unwrap().tokens.len(), 1);
    assert!(pair.worker.wait(Duration::from_secs(20)).unwrap().success(), "{}", pair.worker.log());
}
