//! Swaps of models while workers are at it: by hand, and by retraining.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use eoscast_proto::predictor::v1 as pb;

use crate::predictor::{Predictor, binary, lines};
use crate::replay::replay;
use crate::workload::{Engine, event, message, started};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/forecast/artifacts/smollm2-135m-instruct.safetensors");

/// An artifact of the prior with `count` outcomes of `length` tokens.
fn prior_artifact(folder: &Path, name: &str, length: u32, count: usize) -> String {
    let path = folder.join(name);
    let file = serde_json::json!({"format": "eoscast-artifact/1", "kind": "prior", "feature_version": 1,
        "trained_for": "any", "window": count, "outcomes": vec![(length, false); count]});
    std::fs::write(&path, file.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn model(predictor: &Predictor) -> pb::GetModelResponse {
    predictor.client().await.get_model(pb::GetModelRequest {}).await.unwrap().into_inner()
}

/// Sends all messages of an engine, so many `outstanding` at most, and reads until every one is acknowledged and every estimate has
/// come.
async fn serve_worker(
    predictor: &Predictor,
    worker: String,
    requests: usize,
    outstanding: u64,
) -> tokio::task::JoinHandle<Vec<pb::LengthEstimate>> {
    let messages: Vec<_> = Engine::new(&worker, 3, requests).collect();
    let arrivals = messages.iter().flat_map(|message| &message.started).map(|started| (started.request_id.clone(), 0));
    let steps = messages.iter().flat_map(|message| &message.events);
    let live = steps.filter(|event| event.finish_reason == 0).map(|event| (event.request_id.clone(), event.step));
    let mut expected: Vec<(String, u32)> = arrivals.chain(live).collect();
    let mut stream = predictor.stream().await;
    tokio::spawn(async move {
        let (mut sent, mut acknowledged, last) = (0, 0, messages.len() as u64);
        let mut messages = messages.into_iter();
        while acknowledged < last || stream.estimates.len() < expected.len() {
            while sent < last.min(acknowledged + outstanding) {
                assert!(stream.send(messages.next().unwrap()).await);
                sent += 1;
            }
            let response = stream.next().await.unwrap().expect("an open stream");
            assert!(response.acknowledged_sequence_number >= acknowledged);
            acknowledged = response.acknowledged_sequence_number;
        }
        let told = stream.estimates.iter().map(|estimate| (estimate.request_id.clone(), estimate.step));
        let mut told: Vec<_> = told.collect();
        told.sort();
        expected.sort();
        assert!(told == expected, "{worker}: each event has its estimate, once");
        stream.estimates
    })
}

#[tokio::test]
async fn models_are_swapped_under_64_live_streams_and_nothing_is_dropped() {
    const STREAMS: usize = 64;
    const REQUESTS: usize = 2;
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let short = prior_artifact(files.path(), "short.json", 20, 500);
    let long = prior_artifact(files.path(), "long.json", 2_000, 500);
    std::fs::copy(SHIPPED, files.path().join("shipped.safetensors")).unwrap();
    let folder = files.path().to_str().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--artifact-dir", folder]);
    let mut running = vec![];
    for i in 0..STREAMS {
        running.push(serve_worker(&predictor, format!("w{i}"), REQUESTS, 8).await);
    }
    let (mut client, mut swapped) = (predictor.client().await, vec![]);
    for artifact in ["short.json", "shipped.safetensors", "long.json", "short.json"].into_iter().cycle() {
        if running.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        let ask = pb::ReloadModelRequest { artifact: artifact.to_string() };
        swapped.push(client.reload_model(ask).await.unwrap().into_inner().model_version);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let families: BTreeSet<&str> = swapped.iter().map(|version| version.rsplit_once(':').unwrap().0).collect();
    assert!(swapped.len() > 6 && families.len() == 3, "{swapped:?}");
    let mut by = BTreeSet::new();
    for worker in running {
        for estimate in worker.await.unwrap() {
            by.insert(estimate.model_version.rsplit_once(':').unwrap().0.to_owned());
        }
    }
    assert!(families.iter().all(|family| by.contains(*family)), "{by:?} of {families:?}");
    assert!(predictor.terminate());
    assert_eq!(lines(data.path(), "requests-").len(), REQUESTS * STREAMS);
    // Each was made by the model that it names.
    let (code, report) = replay(data.path(), &["--artifact", &short, "--artifact", &long]);
    assert_eq!((code, &report["identical"]), (Some(0), &report["estimates"]), "{report}");
}

#[tokio::test]
async fn without_flags_the_shipped_model_answers_for_its_language_model_and_the_prior_for_others() {
    let data = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.env_remove("EOSCAST_PREDICTOR_MODEL").args(["serve", "--metrics", "off", "--data-dir"]).arg(data.path());
    command.arg("--artifact-dir").arg(data.path());
    let predictor = Predictor::spawn(command);
    let told = model(&predictor).await;
    assert!(told.source == "survival" && told.artifact.starts_with("shipped/"), "{told:?}");
    assert!(told.trained_for.contains(&"smollm2-135m".to_owned()), "{:?}", told.trained_for);
    let mut stream = predictor.stream().await;
    let stranger = pb::RequestStarted { model: "another".into(), ..started("b") };
    let file = pb::RequestStarted { model: "SmolLM2-135M-Instruct.Q4_1".into(), ..started("c") };
    stream.send(pb::StreamStepsRequest { started: vec![started("a"), stranger, file], ..message("w", 1) }).await;
    stream.estimate_at(0).await;
    let sources: Vec<_> = stream.estimates.iter().map(|e| (e.request_id.as_str(), e.source.as_str())).collect();
    assert_eq!(sources, [("a", "survival"), ("b", "prior"), ("c", "survival")]);
    let warning = predictor.wait_for_log("the prior answers");
    assert!(warning.contains("WARN") && warning.contains("another"), "{warning}");
    let again = predictor.client().await.reload_model(pb::ReloadModelRequest::default()).await.unwrap();
    assert_eq!(again.into_inner().source, "survival");
}

#[tokio::test]
async fn a_retrained_model_takes_over_from_a_bad_one_and_stays_after_a_restart() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Lengths that never come; so many that what comes hardly counts.
    let bad = prior_artifact(files.path(), "bad.json", 5_000, 10_000);
    let args = ["--metrics", "off", "--artifact", &bad, "--retrain-every", "240"];
    let predictor = Predictor::start(data.path(), &args);
    serve_worker(&predictor, "w".to_owned(), 242, 1_000).await.await.unwrap();
    // Unoptimised, and beside other tests, fitting takes its time.
    let told = predictor.wait_long_for_log("swapped=", Duration::from_secs(300));
    assert!(
        told.contains("swapped=true") && told.contains("candidate_mae=") && told.contains("serving_mae="),
        "{told}"
    );
    let retrained = model(&predictor).await;
    let decision = retrained.last_retraining.clone().unwrap();
    assert!(decision.swapped && decision.candidate_mae < decision.serving_mae / 2.0, "{decision:?}");
    assert!(decision.candidate == retrained.source && retrained.source != "prior", "{retrained:?}");
    // A request goes on over the restart.
    let mut stream = predictor.stream().await;
    let begun = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("x", 1) };
    stream.send(begun).await;
    stream.acknowledged(1).await;
    predictor.kill();

    let predictor = Predictor::start(data.path(), &args);
    let restarted = model(&predictor).await;
    assert_eq!((&restarted.model_version, &restarted.artifact), (&retrained.model_version, &retrained.artifact));
    assert_eq!(restarted.last_retraining, Some(decision));
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { events: vec![event("a", 2)], ..message("x", 2) }).await;
    assert_eq!(stream.estimate_at(2).await.source, retrained.source);
    stream.acknowledged(2).await;
    assert!(predictor.terminate());
    let (code, report) = replay(data.path(), &["--artifact", &bad]);
    assert_eq!((code, &report["identical"]), (Some(0), &report["estimates"]), "{report}");
}

#[test]
fn retraining_without_a_log_is_refused() {
    let mut command = binary();
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--retrain-every", "9"]);
    let output = command.args(["--enable-eos-prob-logging", "false"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("--retrain-every learns from the event log"), "{error}");
}
