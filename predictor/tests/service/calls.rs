use std::time::Duration;

use eoscast_forecast::features::FEATURE_NAMES;
use eoscast_proto::predictor::v1 as pb;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::predictor::{Predictor, StepStream};
use crate::workload::{event, finished, message, started};

async fn with_live(predictor: &Predictor, worker_id: &str, request_ids: &[&str]) -> StepStream {
    let mut stream = predictor.stream().await;
    let arrivals = request_ids.iter().map(|id| started(id)).collect();
    stream.send(pb::StreamStepsRequest { started: arrivals, ..message(worker_id, 1) }).await;
    stream.acknowledged(1).await;
    stream.estimate_at(0).await;
    stream
}

fn of(request_id: &str, worker_id: &str) -> pb::GetEstimateRequest {
    pb::GetEstimateRequest { request_id: request_id.into(), worker_id: worker_id.into() }
}

#[tokio::test]
async fn the_estimate_of_a_live_request_can_be_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut one = with_live(&predictor, "one", &["a", "b"]).await;
    let _two = with_live(&predictor, "two", &["a"]).await;
    one.send(pb::StreamStepsRequest { events: vec![event("b", 1)], ..message("one", 2) }).await;
    one.acknowledged(2).await;
    let mut client = predictor.client().await;
    let state = client.get_estimate(of("b", "")).await.unwrap().into_inner().request.unwrap();
    assert_eq!((state.worker_id.as_str(), state.output_length, state.max_tokens), ("one", 1, 200));
    assert_eq!(state.estimate, Some(one.estimate_at(1).await));
    assert!(state.eos_probability > 0.0);
    assert_eq!(client.get_estimate(of("a", "")).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(client.get_estimate(of("a", "two")).await.is_ok());
    assert_eq!(client.get_estimate(of("z", "")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.get_estimate(of("", "")).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn live_requests_are_listed_page_by_page() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let _stream = with_live(&predictor, "w", &["c", "a", "b"]).await;
    let mut client = predictor.client().await;
    let mut seen = vec![];
    let mut page_token = String::new();
    loop {
        let ask = pb::ListRequestsRequest { page_size: 2, page_token, ..Default::default() };
        let page = client.list_requests(ask).await.unwrap().into_inner();
        seen.extend(page.requests.into_iter().map(|request| request.request_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    for bad in [
        pb::ListRequestsRequest { page_size: 1001, ..Default::default() },
        pb::ListRequestsRequest { page_token: "nonsense".into(), ..Default::default() },
    ] {
        assert_eq!(client.list_requests(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_watcher_sees_what_is_live_then_what_changes_then_what_ends() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let stream = with_live(&predictor, "w", &["a", "b"]).await;
    let interval = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let ask = pb::WatchRequestsRequest { interval, ..Default::default() };
    let mut watch = predictor.client().await.watch_requests(ask).await.unwrap().into_inner();
    let ids = |seen: &pb::WatchRequestsResponse| -> Vec<String> {
        seen.requests.iter().map(|request| request.request_id.clone()).collect()
    };
    assert_eq!(ids(&watch.message().await.unwrap().unwrap()), ["a", "b"]);
    stream.send(pb::StreamStepsRequest { events: vec![event("b", 1)], ..message("w", 2) }).await;
    assert_eq!(ids(&watch.message().await.unwrap().unwrap()), ["b"]);
    let end = finished("a", 1, pb::FinishReason::Stop);
    stream.send(pb::StreamStepsRequest { events: vec![end], ..message("w", 3) }).await;
    assert_eq!(watch.message().await.unwrap().unwrap().finished[0].request_id, "a");

    let hasty = Some(prost_types::Duration { seconds: 0, nanos: 1_000 });
    let ask = pb::WatchRequestsRequest { interval: hasty, ..Default::default() };
    let refused = predictor.client().await.watch_requests(ask).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_model_is_swapped_under_a_live_stream() {
    let data = tempfile::tempdir().unwrap();
    let artifact = data.path().join("short.json");
    std::fs::write(
        &artifact,
        r#"{"format":"eoscast-artifact/1","kind":"prior","feature_version":1,"trained_for":"m","window":50,
            "outcomes":[[3,false],[3,false],[4,false],[4,false],[5,false],[3,false],[4,false],[3,false]]}"#,
    )
    .unwrap();
    let folder = data.path().to_str().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--artifact-dir", folder]);
    let mut stream = with_live(&predictor, "w", &["a"]).await;
    let before = stream.estimates[0].mean;
    let mut client = predictor.client().await;
    let ask = pb::ReloadModelRequest { artifact: "short.json".into() };
    let version = client.reload_model(ask).await.unwrap().into_inner().model_version;
    stream.send(pb::StreamStepsRequest { events: vec![event("a", 1)], ..message("w", 2) }).await;
    stream.acknowledged(2).await;
    let after = stream.estimate_at(1).await;
    assert_eq!(after.model_version, version);
    assert!(after.mean < before / 2.0, "{} against {before}", after.mean);
    let model = client.get_model(pb::GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (model.model_version, model.prior_window, model.feature_names.len()),
        (version, 50, FEATURE_NAMES.len())
    );

    for bad in ["", "nothing", "/nowhere", "../short.json", artifact.to_str().unwrap()] {
        let status = client.reload_model(pb::ReloadModelRequest { artifact: bad.into() }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad}");
        assert!(status.message().starts_with("artifact:"), "{status}");
    }
}

#[tokio::test]
async fn without_a_folder_of_artifacts_no_model_is_reloaded() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    for artifact in ["", "/etc/passwd", "x"] {
        let ask = pb::ReloadModelRequest { artifact: artifact.into() };
        let status = predictor.client().await.reload_model(ask).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("--artifact-dir"), "{status}");
    }
}

#[tokio::test]
async fn watchers_of_many_requests_are_told_in_pieces_and_beyond_the_most_refused() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let ids: Vec<String> = (0..1_200).map(|i| format!("r{i:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let stream = with_live(&predictor, "w", &ids).await;
    let mut client = predictor.client().await;
    let mut watches = vec![];
    let refused = loop {
        match client.watch_requests(pb::WatchRequestsRequest::default()).await {
            Ok(watch) => watches.push(watch.into_inner()),
            Err(status) => break status,
        }
    };
    assert_eq!((refused.code(), watches.len()), (Code::ResourceExhausted, 32));
    for watch in [0, 31] {
        let mut seen = vec![];
        while seen.len() < ids.len() {
            let response = watches[watch].message().await.unwrap().unwrap();
            assert!(response.requests.len() <= 250, "{}", response.requests.len());
            seen.extend(response.requests.into_iter().map(|request| request.request_id));
        }
        assert_eq!(seen, ids);
    }
    let end = finished("r0700", 1, pb::FinishReason::Stop);
    stream.send(pb::StreamStepsRequest { events: vec![event("r0001", 1), end], ..message("w", 2) }).await;
    let (mut changed, mut gone) = (vec![], vec![]);
    while changed.is_empty() || gone.is_empty() {
        let response = watches[31].message().await.unwrap().unwrap();
        changed.extend(response.requests.into_iter().map(|request| request.request_id));
        gone.extend(response.finished.into_iter().map(|request| request.request_id));
    }
    assert_eq!((changed, gone), (vec!["r0001".to_owned()], vec!["r0700".to_owned()]));
    // A place is free again once its watcher has gone, and what is live then is told from the start.
    drop(watches);
    let mut again = loop {
        match client.watch_requests(pb::WatchRequestsRequest { worker_id: "w".into(), ..Default::default() }).await {
            Ok(watch) => break watch.into_inner(),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut seen = 0;
    while seen < ids.len() - 1 {
        seen += again.message().await.unwrap().unwrap().requests.len();
    }
}

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let channel = predictor.channel().await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "eoscast.predictor.v1.PredictorService", "eoscast.predictor.v1.EventLog"] {
        let status = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "{service}");
    }
    use tonic_reflection::pb::{v1, v1alpha};
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner().message().await;
    let services = format!("{answer:?}");
    assert!(services.contains("eoscast.predictor.v1.PredictorService") && !services.contains("WorkerService"));
    assert!(services.contains("grpc.reflection.v1.ServerReflection") && services.contains("grpc.health.v1.Health"));
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::FileContainingSymbol(
            "google.rpc.BadRequest".into(),
        )),
    };
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner().message().await;
    assert!(
        format!("{answer:?}").contains("FileDescriptorResponse"),
        "clients print the details of errors: {answer:?}"
    );
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner().message().await;
    assert!(format!("{answer:?}").contains("eoscast.predictor.v1.PredictorService"));
}

/// Calls `method` with a message whose first field is a number, where the contract has a text.
async fn send_nonsense(predictor: &Predictor, method: &str) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(predictor.channel().await);
    client.ready().await.unwrap();
    let path = format!("/{}/{method}", eoscast_proto::predictor::v1::predictor_service_server::SERVICE_NAME);
    let messages = tokio_stream::once(prost_types::Timestamp { seconds: 7, nanos: 7 });
    // Any response is read as nothing: what counts is how the call ends.
    let codec = eoscast_proto::codec::MessageCodec::<prost_types::Timestamp, ()>::default();
    match client.streaming(tonic::Request::new(messages), path.parse().unwrap(), codec).await {
        Err(status) => status,
        Ok(responses) => responses.into_inner().trailers().await.unwrap_err(),
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    for method in ["GetEstimate", "ListRequests", "WatchRequests", "StreamSteps"] {
        let status = send_nonsense(&predictor, method).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status}");
        assert!(status.message().starts_with("message: is not valid protobuf: "), "{method}: {status}");
    }
}

#[tokio::test]
async fn metrics_count_what_was_received() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let data = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let predictor = Predictor::start(data.path(), &["--metrics", &addr]);
    let mut stream = with_live(&predictor, "w", &["a"]).await;
    let events = vec![finished("a", 1, pb::FinishReason::Stop), event("stranger", 1)];
    stream.send(pb::StreamStepsRequest { events, ..message("w", 2) }).await;
    stream.acknowledged(2).await;
    let get_as = async |path: &str, accept: &str| {
        let mut connection = tokio::net::TcpStream::connect(&addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        connection.read_to_string(&mut page).await.unwrap();
        page
    };
    let get = async |path: &str| get_as(path, "*/*").await;
    // Some figures are brought up to date twice a second.
    let accuracy = "eoscast_predictor_accuracy_requests{model=\"prior/1\",task=\"\"} 1";
    let mut page = get("/metrics").await;
    while !page.contains(accuracy) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        page = get("/metrics").await;
    }
    for line in [
        "text/plain; version=0.0.4",
        "# TYPE eoscast_predictor_events_total counter",
        "eoscast_predictor_build_info{version=",
        "process_resident_memory_bytes ",
        "eoscast_predictor_events_total 2",
        "eoscast_predictor_log_lines_total 1",
        "eoscast_predictor_log_state 1",
        "eoscast_predictor_outcomes_total{reason=\"stop\"} 1",
        "eoscast_predictor_forecast_outstanding_tokens{worker=\"w\",stat=\"mean\"} 0",
        "eoscast_predictor_forecast_outstanding_tokens{worker=\"w\",stat=\"p90\"} 0",
        "eoscast_predictor_irregularities_total{kind=\"unknown_request\"} 1",
        "eoscast_predictor_estimate_seconds_count",
        "eoscast_predictor_accuracy_mae_tokens{model=\"prior/1\",task=\"\"} ",
        "eoscast_predictor_accuracy_error_to_prior{model=\"prior/1\",task=\"\"} 1",
        "eoscast_predictor_accuracy_coverage90{model=\"prior/1\",task=\"\",age=\"0-15\"} ",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    let page_in_openmetrics = get_as("/metrics", "application/openmetrics-text").await;
    assert!(page_in_openmetrics.contains("application/openmetrics-text; version=1.0.0"), "{page_in_openmetrics}");
    let model = predictor.client().await.get_model(pb::GetModelRequest {}).await.unwrap().into_inner();
    let [accuracy] = &model.accuracy[..] else { panic!("one model, no task: {model:?}") };
    assert_eq!((accuracy.model.as_str(), accuracy.requests, accuracy.mae), ("prior/1", 1, accuracy.prior_mae));
    assert_eq!(accuracy.coverage90.iter().map(|age| age.from_step).collect::<Vec<_>>(), [0, 16, 64, 128, 256]);
    assert!(get("/health").await.contains(r#""event_log":"ok""#));
}
