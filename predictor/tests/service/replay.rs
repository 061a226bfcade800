use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::history::History;
use eoscast_lab::estimate::estimate;
use eoscast_log::location::Location;
use eoscast_log::packed::pack_for_test;
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use serde_json::Value;

use crate::predictor::{Predictor, binary, files, lines};
use crate::workload::Engine;

pub(crate) fn replay(log: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let output = binary().arg("replay").arg(log).arg("--json").args(args).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), report)
}

/// Two workers at once, with a restart in between.
async fn live_log(folder: &Path, args: &[&str]) {
    log_of(folder, args, &[["w1", "w2"], ["w3", "w4"]]).await;
}

/// The log of pairs of workers, each pair with a predictor of its own.
async fn log_of(folder: &Path, args: &[&str], pairs: &[[&'static str; 2]]) {
    for workers in pairs.iter().copied() {
        let predictor = Predictor::start(folder, args);
        let mut running = vec![];
        for worker in workers {
            let mut stream = predictor.stream().await;
            running.push(tokio::spawn(async move {
                let messages: Vec<_> = Engine::new(worker, 16, 80).collect();
                let last = messages.len() as u64;
                for message in messages {
                    assert!(stream.send(message).await);
                }
                stream.acknowledged(last).await;
            }));
        }
        for worker in running {
            worker.await.unwrap();
        }
        assert!(predictor.terminate());
    }
}

#[tokio::test]
async fn every_estimate_of_a_live_log_comes_out_again_bit_for_bit() {
    for model in ["prior", "threshold"] {
        let data = tempfile::tempdir().unwrap();
        live_log(data.path(), &["--metrics", "off", "--model", model, "--segment-bytes", "1000000"]).await;
        let (code, report) = replay(data.path(), &[]);
        assert_eq!(
            (code, &report["different"], &report["not_recomputable"]),
            (Some(0), &0.into(), &serde_json::json!({}))
        );
        assert_eq!(report["estimates"], report["identical"]);
        assert!(report["estimates"].as_u64() > Some(20_000), "{report}");
        assert_eq!(lines(data.path(), "requests-").len(), 320);
    }
}

#[tokio::test]
async fn a_log_whose_full_files_are_packed_is_replayed_and_continued() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--metrics", "off", "--model", "prior", "--segment-bytes", "1000000"];
    log_of(data.path(), &args, &[["w1", "w2"]]).await;
    let (_, before) = replay(data.path(), &[]);
    ["starts-", "requests-", "steps-"]
        .iter()
        .flat_map(|series| files(data.path(), series))
        .for_each(|file| pack_for_test(&file).unwrap());
    assert_eq!(replay(data.path(), &[]), (Some(0), before.clone()));

    // A predictor that starts on it begins new files behind those.
    log_of(data.path(), &args, &[["w3", "w4"]]).await;
    let (code, after) = replay(data.path(), &[]);
    assert_eq!((code, &after["different"], &after["not_recomputable"]), (Some(0), &0.into(), &serde_json::json!({})));
    assert!(after["estimates"].as_u64() > before["estimates"].as_u64().map(|estimates| estimates + 10_000), "{after}");
    // The new file and its outcomes are numbered on from the 160 that are packed.
    let new = lines(data.path(), "requests-0000000000000160.jsonl");
    let numbers = new.iter().map(|line| line["outcome_number"].as_u64().unwrap());
    assert!(numbers.eq(161..=320));
}

#[tokio::test]
async fn an_altered_estimate_is_found_and_missing_history_is_told() {
    let data = tempfile::tempdir().unwrap();
    live_log(data.path(), &["--metrics", "off"]).await;
    let steps = &files(data.path(), "steps-")[0];
    let text = std::fs::read_to_string(steps).unwrap();
    let mut altered: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = (1000..).find(|i| altered[*i].contains("\"is_finished\":false")).unwrap();
    let mut line: Value = serde_json::from_str(&altered[at]).unwrap();
    line["estimate"]["mean"] = Value::from(line["estimate"]["mean"].as_f64().unwrap() + 0.5);
    altered[at] = line.to_string();
    std::fs::write(steps, altered.join("\n") + "\n").unwrap();
    let (code, report) = replay(data.path(), &[]);
    assert_eq!((code, &report["different"]), (Some(1), &1.into()));
    let expected = format!("{}:{}", steps.display(), at + 1);
    assert_eq!(report["first_differences"][0]["at"], expected);

    // Without outcomes only what was said before the first of them can be made again.
    std::fs::write(steps, text).unwrap();
    std::fs::write(&files(data.path(), "requests-")[0], "").unwrap();
    let (code, report) = replay(data.path(), &[]);
    assert_eq!((code, &report["different"]), (Some(0), &0.into()));
    let reason = "outcomes that the model had seen are not in the log";
    assert!(report["not_recomputable"][reason].as_u64() > Some(10_000), "{report}");
}

#[tokio::test]
async fn a_log_made_with_an_artifact_needs_it_to_be_replayed() {
    let data = tempfile::tempdir().unwrap();
    let artifact = data.path().join("artifact.json");
    let outcomes = vec![(40, false); 30];
    let file = serde_json::json!({"format": "eoscast-artifact/1", "kind": "prior", "feature_version": 1,
        "trained_for": "smollm2-135m", "window": 100, "outcomes": outcomes});
    std::fs::write(&artifact, file.to_string()).unwrap();
    let artifact = artifact.to_str().unwrap();
    let log = data.path().join("log");
    live_log(&log, &["--metrics", "off", "--artifact", artifact]).await;
    let (code, report) = replay(&log, &["--artifact", artifact]);
    assert_eq!((code, &report["identical"]), (Some(0), &report["estimates"]), "{report}");
    let (_, report) = replay(&log, &[]);
    assert_eq!(report["identical"], 0);
}

#[test]
fn replaying_nothing_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = binary().arg("replay").arg(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("has no event log"), "{error}");
}

/// Of each step with an estimate: the step, and the numbers that were said.
fn said(folder: &Path) -> HashMap<(String, u64), Value> {
    let of = |line: Value| {
        let numbers = (line["estimate"]["mean"].clone(), line["estimate"]["quantiles"].clone());
        let key = (line["request_id"].as_str()?.to_owned(), line["step"].as_u64()?);
        (line["estimate"]["model_version"].as_str()?.ends_with(":0")).then_some((key, serde_json::json!(numbers)))
    };
    lines(folder, "steps-").into_iter().filter_map(of).collect()
}

#[tokio::test]
async fn estimates_written_into_a_log_are_those_of_a_predictor_that_serves() {
    let data = tempfile::tempdir().unwrap();
    let (live, again) = (data.path().join("live"), data.path().join("again"));
    let predictor = Predictor::start(&live, &["--metrics", "off", "--model", "survival"]);
    let mut stream = predictor.stream().await;
    let messages: Vec<_> = Engine::new("w", 16, 40).collect();
    let last = messages.len() as u64;
    for message in messages {
        assert!(stream.send(message).await);
    }
    stream.acknowledged(last).await;
    assert!(predictor.terminate());

    let (kind, shipped) = ArtifactSource::choose(None, None).unwrap();
    let mut model = kind.build(shipped.map(|(_, artifact)| artifact).as_ref(), &History::default());
    let mut log = EventLog::open(&LogConfig {
        location: Location::Folder(again.clone()),
        rotation: Rotation { bytes: u64::MAX, age: Duration::MAX },
        fsync: Fsync::Never,
        retention_bytes: 0,
    })
    .unwrap();
    estimate(&live, model.as_mut(), None, &mut log, |_| ()).unwrap();
    // Until the first outcome, after which a predictor that serves has learned something.
    let (live_said, said_again) = (said(&live), said(&again));
    assert!(live_said.len() > 15, "{}", live_said.len());
    assert!(live_said.iter().all(|(key, numbers)| said_again.get(key) == Some(numbers)));
    let finished = |folder| lines(folder, "requests-").len();
    assert_eq!((finished(&again), lines(&again, "steps-").len()), (finished(&live), lines(&live, "steps-").len()));
}
