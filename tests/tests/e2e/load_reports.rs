//! What balancers see of a worker: load reports beside the requests and with their answers, and connections that grow old.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use eoscast_pair::client::{chat, generate};
use eoscast_pair::pair::{Pair, PairOptions, connect};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::transport;
use eoscast_proto::worker::v1::{GenerateRequest, GetLoadsRequest};
use eoscast_proto::xds::data::orca::v3::OrcaLoadReport;
use eoscast_proto::xds::service::orca::v3 as pb;
use pb::open_rca_service_client::OpenRcaServiceClient;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::until;

const FORMAT: &str = "endpoint-load-metrics-format";
const REPORT: &str = "endpoint-load-metrics";

fn alone(worker: &[&str]) -> Pair {
    Pair::start(&PairOptions::worker(worker)).unwrap()
}

fn metrics(pair: &Pair) -> String {
    let output = Command::new("curl").args(["-sS", &format!("http://{}/metrics", pair.http_addr)]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A request that runs until it is aborted or has so many tokens.
fn endless(tokens: u32) -> GenerateRequest {
    let mut request = chat("", PROMPTS[8].1, 1, tokens);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    request
}

async fn reports(channel: Channel, interval: Duration) -> Result<Streaming<OrcaLoadReport>, Status> {
    let request =
        pb::OrcaLoadReportRequest { report_interval: Some(interval.try_into().unwrap()), request_cost_names: vec![] };
    Ok(OpenRcaServiceClient::new(channel).stream_core_metrics(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_finds_the_service_by_reflection_and_streams_reports_at_the_interval() {
    let pair = alone(&[]);
    let call = "xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
    let grpcurl = |body: &str| {
        let addr = pair.worker_addr.to_string();
        let args = ["-plaintext", "-max-time", "3", "-d", body, &addr, call];
        Command::new("grpcurl").args(args).output().expect("grpcurl is installed by `make test`")
    };
    let output = grpcurl(r#"{"report_interval": "0.5s"}"#);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("DeadlineExceeded"),
        "a stream without an end: {output:?}"
    );
    let reports: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    assert!((3..=7).contains(&reports.len()), "{} in 3 s", reports.len());
    for report in &reports {
        assert_eq!((&report["applicationUtilization"], &report["rpsFractional"]), (&0.01.into(), &1000.into()));
        assert_eq!(report["namedMetrics"]["num_requests_waiting"], 0, "{report}");
    }
    let often = grpcurl(r#"{"report_interval": "0.001s"}"#);
    let often = serde_json::Deserializer::from_slice(&often.stdout).into_iter::<Value>().count();
    assert!((10..=31).contains(&often), "{often} in 3 s, at most ten a second");
    let negative = grpcurl(r#"{"report_interval": "-1s"}"#);
    let error = String::from_utf8_lossy(&negative.stderr).into_owned();
    assert!(error.contains("report_interval: must not be negative"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_rises_with_a_request_falls_while_its_reply_grows_and_is_nothing_then() {
    let pair = alone(&["--kv-tokens", "2048"]);
    let mut stream = reports(connect(pair.worker_addr).await.unwrap(), Duration::from_millis(100)).await.unwrap();
    let mut client = pair.worker_client().await.unwrap();
    let running = tokio::spawn(generate(client.clone(), endless(600)));
    let mut loads = vec![];
    let mut outstanding = vec![];
    while !running.is_finished() || loads.last().is_some_and(|last| *last > 0.01) {
        let report = stream.message().await.unwrap().unwrap();
        loads.push(report.application_utilization);
        outstanding.push(report.named_metrics["forecast_outstanding_tokens_mean"]);
    }
    assert_eq!(running.await.unwrap().unwrap().tokens.len(), 600);
    let most = loads.iter().copied().fold(0.0, f64::max);
    assert!(most > 0.0101, "{loads:?}");
    assert_eq!(outstanding.last(), Some(&0.0), "{outstanding:?}");
    let loads = client.get_loads(GetLoadsRequest {}).await.unwrap().into_inner();
    assert_eq!((loads.forecast_load, loads.forecast_outstanding_tokens_p90), (Some(0.0), Some(0.0)));
    let page = metrics(&pair);
    for series in ["eoscast_forecast_load{", "eoscast_forecast_outstanding_tokens{"] {
        let line = page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series} in {page}"));
        assert!(line.ends_with(" 0") || line.ends_with(" 0.0"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_carries_the_load_over_http_and_grpc_if_the_request_wants_it() {
    let pair = alone(&[]);
    let url = format!("http://{}/v1/completions", pair.http_addr);
    let curl = |stream: bool, wanted: &[&str]| {
        let body = format!(r#"{{"prompt": "Hi", "max_tokens": 2, "stream": {stream}}}"#);
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", &url, "-H", "content-type: application/json", "-d", &body]).args(wanted);
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        output.lines().find_map(|line| line.strip_prefix("endpoint-load-metrics: ").map(str::to_owned))
    };
    for stream in [false, true] {
        for format in ["TEXT", "JSON", "BIN"] {
            let report = curl(stream, &["-H", &format!("{FORMAT}: {format}")]).unwrap();
            assert!(report.starts_with(&format!("{format} ")), "{report}");
        }
        assert_eq!(curl(stream, &[]), None);
    }
    let mut client = pair.worker_client().await.unwrap();
    let mut request = Request::new(chat("", PROMPTS[0].1, 1, 2));
    assert!(
        client.generate(Request::new(chat("", PROMPTS[0].1, 1, 2))).await.unwrap().metadata().get(REPORT).is_none()
    );
    request.metadata_mut().insert(FORMAT, "JSON".parse().unwrap());
    let answer = client.generate(request).await.unwrap();
    let report = answer.metadata().get(REPORT).unwrap().to_str().unwrap().strip_prefix("JSON ").unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["rps_fractional"].as_f64(), Some(1000.0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_says_at_once_that_it_wants_no_work_and_ends_its_streams_in_time() {
    let mut pair = alone(&["--drain-delay", "2", "--drain-timeout", "1"]);
    let mut stream = reports(connect(pair.worker_addr).await.unwrap(), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().rps_fractional, 1000.0);
    let began = Instant::now();
    pair.worker.terminate().unwrap();
    let last = stream.message().await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "before requests are refused");
    assert_eq!(last.rps_fractional, 0.001, "{last:?}");
    let end = stream.message().await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "the worker is stopping: try another one"));
    assert!(pair.worker.wait(Duration::from_secs(30)).unwrap().success(), "{}", pair.worker.log());
    assert!(began.elapsed() < Duration::from_secs(2 + 1 + 5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_streams_of_reports_those_beyond_are_refused_and_another_client_still_gets_one() {
    let pair = alone(&[]);
    let mut open = vec![];
    let mut refused = vec![];
    for _ in 0..2 {
        let channel = connect(pair.worker_addr).await.unwrap();
        for _ in 0..150 {
            match reports(channel.clone(), Duration::from_secs(3600)).await {
                Ok(stream) => open.push(stream),
                Err(status) => refused.push(status),
            }
        }
    }
    assert_eq!((open.len(), refused.len()), (256, 44));
    assert!(refused.iter().all(|status| status.code() == Code::ResourceExhausted), "{:?}", refused[0]);
    let elsewhere = transport::endpoint(&format!("http://{}", pair.worker_addr)).unwrap();
    let elsewhere = elsewhere.local_address(Some([127, 0, 0, 2].into())).connect().await.unwrap();
    let mut other = reports(elsewhere, Duration::from_secs(3600)).await.unwrap();
    assert!(other.message().await.unwrap().is_some());
    let newest = open.last_mut().unwrap();
    assert!(newest.message().await.unwrap().is_some(), "its first report");
    assert_eq!(newest.message().await.unwrap_err().code(), Code::ResourceExhausted, "its place went to the other");
    drop((open, other));
    until("their places are free", async || {
        let none = |line: &str| line.starts_with("eoscast_load_report_streams{") && line.ends_with(" 0");
        metrics(&pair).lines().any(none)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_connections_are_replaced_at_their_age() {
    let pair = alone(&["--max-connection-age", "1s"]);
    let python = std::env::var("EOSCAST_PYTHON").expect(
        "EOSCAST_PYTHON must name a Python with the packages of docs/examples/requirements.txt; `make test` installs one",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/callers.py");
    let output = Command::new(python).arg(script).args([&pair.worker_addr.to_string(), "4", "8"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replies = String::from_utf8(output.stdout).unwrap();
    let replies: Vec<u32> = replies.split_whitespace().map(|replies| replies.parse().unwrap()).collect();
    assert!(replies.len() == 4 && replies.iter().all(|replies| *replies > 3), "{replies:?}");
    let page = metrics(&pair);
    let aged = r#"eoscast_connections_ended_total{listener="grpc",reason="aged"} "#;
    let aged: u32 = page.lines().find_map(|line| line.strip_prefix(aged)).unwrap().parse().unwrap();
    assert!(aged >= 4, "{aged} connections were replaced");
}
