//! Several floods at once, each from an address of its own, for `EOSCAST_SOAK_MINUTES` (10 by default); beside them a client that
//! behaves well.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::transport;
use pb::predictor_service_client::PredictorServiceClient;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::clients::{Clients, failures, tokens};
use crate::support::http::{self, HOME, stranger};
use crate::support::services::{Launch, Services};
use crate::support::steps::{event, message, now_micros, started};
use crate::support::{frames, percentile, resources};
use crate::tokenising::letters;

const POLITE_CLIENTS: usize = 4;
/// f16 keys and values of 30 layers with 3 heads of 64.
const KV_BYTES_PER_TOKEN: f64 = 2.0 * 2.0 * 30.0 * 3.0 * 64.0;
const KV_TOKENS: f64 = 32_768.0;
const WORKER_MB: f64 = KV_TOKENS * KV_BYTES_PER_TOKEN / 1e6 + 512.0;
const PREDICTOR_MB: f64 = 512.0;
const HEALTH_SECONDS: f64 = 0.1;
/// What an attacker lets pass before it comes again: it needs the same cores as what it attacks.
const PAUSE: Duration = Duration::from_millis(200);

fn minutes() -> f64 {
    std::env::var("EOSCAST_SOAK_MINUTES").map_or(10.0, |text| text.parse().expect("EOSCAST_SOAK_MINUTES is a number"))
}

/// What attackers need to know.
#[derive(Clone)]
struct Target {
    worker: SocketAddr,
    http: SocketAddr,
    predictor: SocketAddr,
    metrics: SocketAddr,
    fifo: PathBuf,
    text: Arc<String>,
}

/// How often each attack was made.
type Counts = Arc<BTreeMap<&'static str, AtomicU64>>;

const TOKENISING: &str = "texts of 3.9 MB to tokenise";
const HALF_SENT: &str = "half-sent connections";
const FORGED: &str = "forged step streams";
const RELOADS: &str = "ReloadModel";
const UNREAD: &str = "unread replies";
const ANNOUNCEMENTS: &str = "announcements of 64 long prompts";
const SHORT: &str = "short requests";
const ATTACKS: [(&str, u8); 7] =
    [(TOKENISING, 8), (HALF_SENT, 1), (FORGED, 2), (RELOADS, 2), (UNREAD, 2), (ANNOUNCEMENTS, 2), (SHORT, 8)];

async fn predictor_from(
    from: std::net::IpAddr,
    to: SocketAddr,
) -> Option<PredictorServiceClient<tonic::transport::Channel>> {
    let endpoint = transport::endpoint(&format!("http://{to}")).unwrap().local_address(Some(from));
    endpoint.connect().await.ok().map(PredictorServiceClient::new)
}

/// Sends messages on a stream, and reads a moment of what comes back.
async fn send_steps(from: std::net::IpAddr, to: SocketAddr, messages: Vec<pb::StreamStepsRequest>) {
    let Some(mut client) = predictor_from(from, to).await else { return };
    let Ok(stream) = client.stream_steps(tokio_stream::iter(messages)).await else { return };
    let mut stream = stream.into_inner();
    while let Ok(Some(_)) = stream.message().await {}
}

/// One round of an attack; `kept` holds connections that are left open.
async fn attack(what: &str, target: &Target, round: u64, kept: &mut Vec<TcpStream>) {
    match what {
        TOKENISING => {
            let body = format!(r#"{{"prompt":"{}"}}"#, target.text);
            let path = ["/tokenize", "/v1/completions"][round as usize % 2];
            let _ = http::post(stranger(2), target.http, path, &body).await;
        }
        HALF_SENT => {
            let cases: [(SocketAddr, &[u8]); 4] = [
                (target.http, b"GET /health HTTP/1.1\r\nx: "),
                (target.worker, &frames::PREFACE[..12]),
                (target.predictor, &frames::PREFACE[..12]),
                (target.metrics, b"GET /metrics HTT"),
            ];
            for (addr, bytes) in cases.repeat(10) {
                if let Ok(mut connection) = http::connect(stranger(3), addr).await {
                    let _ = connection.write_all(bytes).await;
                    kept.push(connection);
                }
            }
            // Ours are bounded as well.
            kept.drain(..kept.len().saturating_sub(2000));
        }
        FORGED => {
            let epoch = [u64::MAX, now_micros(), now_micros() + 600_000_000, 1][round as usize % 4];
            let worker = ["soaked".to_owned(), format!("forger{}", round % 3000)][round as usize % 2].clone();
            let ids: Vec<String> = (0..2000).map(|number| format!("forged{round}-{number}")).collect();
            let first = pb::StreamStepsRequest {
                started: ids.iter().map(|id| started(id)).collect(),
                ..message(&worker, epoch, [1, 1_000_000_000][round as usize / 2 % 2])
            };
            let second = pb::StreamStepsRequest {
                events: ids.iter().map(|id| event(id, 1)).collect(),
                ..message(&worker, epoch, 1_000_000_001)
            };
            send_steps(stranger(4), target.predictor, vec![first, second]).await;
        }
        RELOADS => {
            let Some(mut client) = predictor_from(stranger(5), target.predictor).await else { return };
            let fifo = target.fifo.display().to_string();
            let artifact = ["/dev/zero", &fifo, "/etc/passwd", "/proc/self/mem"][round as usize % 4].to_owned();
            let _ = client.reload_model(pb::ReloadModelRequest { artifact }).await;
        }
        UNREAD => {
            let body = r#"{"prompt":"A","n":8,"max_tokens":400,"stream":true,"ignore_eos":true,"logprobs":20}"#;
            if let Ok(mut connection) = http::connect_narrow(stranger(6), target.http).await {
                let _ = connection.write_all(&http::post_bytes("/v1/completions", body)).await;
                kept.push(connection);
            }
            kept.drain(..kept.len().saturating_sub(100));
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        ANNOUNCEMENTS => {
            let prompt = "word ".repeat(3200);
            let one =
                |number| pb::RequestStarted { prompt: prompt.clone(), ..started(&format!("long{round}-{number}")) };
            let told = pb::StreamStepsRequest {
                started: (0..64).map(one).collect(),
                ..message(&format!("announcer{}", round % 100), now_micros(), 1)
            };
            send_steps(stranger(7), target.predictor, vec![told]).await;
        }
        _ => {
            let body = format!(r#"{{"prompt":"Word {round}","max_tokens":4}}"#);
            let _ = http::post(stranger(8), target.http, "/v1/completions", &body).await;
        }
    }
}

/// Goes on with an attack, each round for five seconds at most, until the end.
async fn keep_attacking(what: &'static str, target: Target, counts: Counts, end: Instant) {
    let (mut kept, mut round) = (Vec::new(), 0);
    while Instant::now() < end {
        let _ = tokio::time::timeout(Duration::from_secs(5), attack(what, &target, round, &mut kept)).await;
        counts[what].fetch_add(1, Ordering::Relaxed);
        round += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was measured beside the attacks.
#[derive(Default)]
struct Measured {
    /// Seconds that `/health` took; infinite where it failed.
    health: Vec<f64>,
    worker_mb: f64,
    predictor_mb: f64,
}

/// Asks for the health and the memory of both until the end, or until one is dead.
async fn measure(services: &Services, end: Instant) -> Measured {
    let mut measured = Measured::default();
    while Instant::now() < end {
        let began = Instant::now();
        let asked = tokio::time::timeout(Duration::from_secs(10), http::get(HOME, services.worker.http, "/health"));
        let is_healthy = matches!(asked.await, Ok(Ok(answer)) if answer.status == 200);
        measured.health.push(if is_healthy { began.elapsed().as_secs_f64() } else { f64::INFINITY });
        let resident = |process: &eoscast_pair::process::Process| resources::resident_bytes(process.id());
        let (Some(worker), Some(predictor)) =
            (resident(&services.worker.process), resident(&services.predictor.process))
        else {
            break;
        };
        measured.worker_mb = measured.worker_mb.max(worker as f64 / 1e6);
        measured.predictor_mb = measured.predictor_mb.max(predictor as f64 / 1e6);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    measured
}

fn make_fifo(folder: &Path) -> PathBuf {
    let fifo = folder.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fifo
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_client_that_behaves_well_is_served_beside_floods_of_each_kind() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::start(Launch::default(), &Launch::with(&["--worker-id", "soaked"]));
    let target = Target {
        worker: services.worker.grpc,
        http: services.worker.http,
        predictor: services.predictor.grpc,
        metrics: services.predictor.metrics,
        fifo: make_fifo(folder.path()),
        text: Arc::new(letters()),
    };
    let counts: Counts = Arc::new(ATTACKS.iter().map(|(what, _)| (*what, AtomicU64::new(0))).collect());
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(60.0 * minutes());
    let polite = Clients::start(services.worker.grpc, "polite", POLITE_CLIENTS, 48);
    let mut attackers = JoinSet::new();
    for (what, count) in ATTACKS {
        for _ in 0..count {
            attackers.spawn(keep_attacking(what, target.clone(), Arc::clone(&counts), end));
        }
    }
    let measured = measure(&services, end).await;
    let took = start.elapsed().as_secs_f64();
    let outcomes = polite.finish().await;
    attackers.abort_all();
    let failed = failures(&outcomes);
    let seconds: Vec<f64> = outcomes.iter().map(|outcome| (outcome.ended - outcome.began).as_secs_f64()).collect();
    let with_estimates = outcomes.iter().filter(|outcome| matches!(outcome.reply, Ok((_, 1..)))).count();
    println!("| for {took:.0} s | |\n| --- | ---: |");
    for (what, count) in counts.iter() {
        println!("| {what} | {} |", count.load(Ordering::Relaxed));
    }
    println!("| requests of the client that behaves well, {POLITE_CLIENTS} at a time | {} |", outcomes.len());
    println!("| of these failed | {} |", failed.len());
    println!("| of these with estimates | {with_estimates} |");
    println!("| their tokens | {} |", tokens(&outcomes));
    println!(
        "| seconds a request, median and P99 | {:.2}, {:.2} |",
        percentile(&seconds, 50.0),
        percentile(&seconds, 99.0)
    );
    println!("| answers of /health | {} |", measured.health.len());
    println!(
        "| milliseconds to it, median, P99 and most | {:.1}, {:.1}, {:.0} |",
        1e3 * percentile(&measured.health, 50.0),
        1e3 * percentile(&measured.health, 99.0),
        1e3 * percentile(&measured.health, 100.0)
    );
    println!("| most memory of the worker, MB (allowed {WORKER_MB:.0}) | {:.0} |", measured.worker_mb);
    println!("| most memory of the predictor, MB (allowed {PREDICTOR_MB:.0}) | {:.0} |", measured.predictor_mb);
    assert!(failed.is_empty(), "{} requests failed, first {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert!(took >= 60.0 * minutes(), "a process has ended");
    assert!(percentile(&measured.health, 99.0) < HEALTH_SECONDS, "/health is late");
    assert!(measured.worker_mb < WORKER_MB && measured.predictor_mb < PREDICTOR_MB, "too much memory");
}
