//! SIGTERM while somebody holds a connection, of each kind: both processes end by the drain time plus five seconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eoscast_pair::client::chat;
use eoscast_pair::pair::connect;
use eoscast_pair::process::Process;
use eoscast_proto::predictor::v1::WatchRequestsRequest;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::services::{Launch, Services};
use crate::support::{frames, http};

const DRAIN_SECONDS: u64 = 2;
/// Five seconds after the drain time, and a moment for the machine.
const MOST_SECONDS: f64 = DRAIN_SECONDS as f64 + 5.0 + 1.0;
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Holder {
    Nobody,
    SilentHttp,
    SilentGrpc,
    HalfHeader,
    HalfBody,
    UnreadReply,
    UnreadGrpcReply,
    HalfPreface,
    HalfCall,
    HealthWatch,
    SilentPredictor,
    PredictorHealthWatch,
    PredictorWatch,
    HalfMetricsHeader,
    UnreadMetrics,
}

const HOLDERS: [Holder; 15] = [
    Holder::Nobody,
    Holder::SilentHttp,
    Holder::SilentGrpc,
    Holder::HalfHeader,
    Holder::HalfBody,
    Holder::UnreadReply,
    Holder::UnreadGrpcReply,
    Holder::HalfPreface,
    Holder::HalfCall,
    Holder::HealthWatch,
    Holder::SilentPredictor,
    Holder::PredictorHealthWatch,
    Holder::PredictorWatch,
    Holder::HalfMetricsHeader,
    Holder::UnreadMetrics,
];

/// What a holder keeps open.
type Kept = Box<dyn std::any::Any + Send>;

async fn send(to: SocketAddr, bytes: &[u8]) -> Kept {
    let mut connection = TcpStream::connect(to).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    Box::new(connection)
}

/// Sends frames on a connection of HTTP/2.
async fn begin(to: SocketAddr, has_window: bool, bytes: &[u8]) -> Kept {
    let mut connection = TcpStream::connect(to).await.unwrap();
    frames::begin(&mut connection, has_window).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    Box::new(connection)
}

async fn watch_health(addr: SocketAddr) -> Kept {
    let mut client = HealthClient::new(connect(addr).await.unwrap());
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap();
    Box::new((client, stream))
}

impl Holder {
    async fn hold(self, services: &Services) -> Kept {
        let (grpc, web) = (services.worker.grpc, services.worker.http);
        let (predictor, metrics) = (services.predictor.grpc, services.predictor.metrics);
        match self {
            Self::Nobody => Box::new(()),
            Self::SilentHttp => send(web, b"").await,
            Self::SilentGrpc => send(grpc, b"").await,
            Self::HalfHeader => send(web, b"GET /health HTT").await,
            Self::HalfBody => {
                let whole = http::post_bytes("/v1/completions", r#"{"prompt":"A"}"#);
                send(web, &whole[..whole.len() - 5]).await
            }
            Self::UnreadReply => {
                let body = r#"{"prompt":"A","max_tokens":2000,"stream":true,"ignore_eos":true,"logprobs":20}"#;
                let mut connection = http::connect_narrow(http::HOME, web).await.unwrap();
                connection.write_all(&http::post_bytes("/v1/completions", body)).await.unwrap();
                Box::new(connection)
            }
            Self::UnreadGrpcReply => {
                let request = chat("unread", "Tell a story.", 1, 2000);
                let call = frames::call(1, "/eoscast.worker.v1.WorkerService/Generate");
                begin(grpc, false, &[call, frames::message(1, &request, true)].concat()).await
            }
            Self::HalfPreface => send(grpc, &frames::PREFACE[..12]).await,
            Self::HalfCall => {
                let call = frames::call(1, "/eoscast.worker.v1.WorkerService/Generate");
                begin(grpc, true, &call).await
            }
            Self::HealthWatch => watch_health(grpc).await,
            Self::SilentPredictor => send(predictor, b"").await,
            Self::PredictorHealthWatch => watch_health(predictor).await,
            Self::PredictorWatch => {
                let mut client = PredictorServiceClient::new(connect(predictor).await.unwrap());
                let mut stream = client.watch_requests(WatchRequestsRequest::default()).await.unwrap().into_inner();
                stream.message().await.unwrap();
                Box::new((client, stream))
            }
            Self::HalfMetricsHeader => send(metrics, b"GET /metrics HTT").await,
            Self::UnreadMetrics => {
                let mut connection = http::connect_narrow(http::HOME, metrics).await.unwrap();
                connection.write_all(&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50)).await.unwrap();
                Box::new(connection)
            }
        }
    }
}

/// Seconds until a process that was sent SIGTERM is gone.
fn seconds_to_end(process: &mut Process) -> Option<f64> {
    let start = Instant::now();
    process.terminate().unwrap();
    // The other threads of the runtime go on with what holds the connections.
    process.wait(GIVEN_UP_AFTER).is_ok().then(|| start.elapsed().as_secs_f64())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn whoever_holds_a_connection_both_end_by_the_drain_time_plus_five_seconds() {
    let mut late = Vec::new();
    for holder in HOLDERS {
        let worker = Launch::with(&["--drain-timeout", &DRAIN_SECONDS.to_string()]);
        let mut services = Services::start(Launch::default(), &worker);
        let kept = holder.hold(&services).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let worker = seconds_to_end(&mut services.worker.process);
        let predictor = seconds_to_end(&mut services.predictor.process);
        let shown = |seconds: Option<f64>| seconds.map_or("never".to_owned(), |seconds| format!("{seconds:.2} s"));
        println!(
            "SIGTERM, {holder:?}: the worker ends after {}, the predictor after {}",
            shown(worker),
            shown(predictor)
        );
        if [worker, predictor].iter().any(|seconds| seconds.is_none_or(|seconds| seconds > MOST_SECONDS)) {
            late.push(holder);
        }
        drop(kept);
    }
    assert!(late.is_empty(), "held up by {late:?}");
}
