use std::path::Path;
use std::process::Command;

use eoscast_proto::predictor::v1 as pb;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::predictor::{Predictor, binary, lines};
use crate::workload::{event, finished, message, started};

/// Serves one request's first step with these environment variables, in an empty folder.
async fn one_step(folder: &Path, variables: &[(&str, &str)]) -> bool {
    let mut command = binary();
    command.args(["serve", "--metrics", "off"]).current_dir(folder).envs(variables.iter().copied());
    let predictor = Predictor::spawn(command);
    let mut stream = predictor.stream().await;
    let first = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("w", 1) };
    stream.send(first).await;
    stream.acknowledged(1).await.logged
}

#[tokio::test]
async fn by_default_the_log_lies_under_the_working_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(one_step(folder.path(), &[]).await);
    assert_eq!(lines(&folder.path().join("data/predictor"), "steps-").len(), 1);
}

#[tokio::test]
async fn logging_can_be_switched_off_by_the_environment() {
    for off in ["false", "0", "no"] {
        let folder = tempfile::tempdir().unwrap();
        assert!(!one_step(folder.path(), &[("EOSCAST_ENABLE_EOS_PROB_LOGGING", off)]).await);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{off} leaves no file");
    }
}

#[tokio::test]
async fn a_log_that_is_switched_off_is_not_reported_as_broken() {
    let folder = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(folder.path(), &["--metrics", "off", "--enable-eos-prob-logging", "false"]);
    let mut health = HealthClient::new(predictor.channel().await);
    let service = "eoscast.predictor.v1.EventLog".to_owned();
    let status = health.check(HealthCheckRequest { service }).await.unwrap().into_inner().status;
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
}

#[tokio::test]
async fn the_environment_names_a_file_or_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(one_step(folder.path(), &[("EOSCAST_EOS_PROB_LOG_FILE", "logs/eos.jsonl")]).await);
    assert_eq!(std::fs::read_to_string(folder.path().join("logs/eos.jsonl")).unwrap().lines().count(), 1);
    assert!(folder.path().join("logs/eos.starts.jsonl").is_file());
    assert!(one_step(folder.path(), &[("EOSCAST_EOS_PROB_LOG_FILE", "other/")]).await);
    assert_eq!(lines(&folder.path().join("other"), "steps-").len(), 1);
}

#[test]
fn a_path_that_cannot_be_written_is_an_error_at_start_that_says_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for path in ["/proc/nowhere/eos.jsonl", "/proc/nowhere/", folder.path().join("file/below/").to_str().unwrap()] {
        let output = binary()
            .args(["serve", "--metrics", "off", "--listen", "127.0.0.1:0", "--log-file", path])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(path) && error.contains("EOSCAST_EOS_PROB_LOG_FILE"), "{error}");
    }
}

#[test]
fn a_bad_flag_or_artifact_is_an_error_that_names_it() {
    const RUN_TIME: i32 = 1;
    const USAGE: i32 = 2;
    for (args, expected, code) in [
        (["--fsync", "often"], "--fsync", USAGE),
        (["--listen", "nowhere"], "--listen", USAGE),
        (["--segment-age", "soon"], "--segment-age", USAGE),
        (["--artifact", "/nowhere.json"], "/nowhere.json", RUN_TIME),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = binary();
        // The default port may be in use.
        command.args(["serve", "--metrics", "off"]).args(args).env("EOSCAST_PREDICTOR_LISTEN", "127.0.0.1:0");
        let output = command.current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn damaged_lines_are_reported_at_start_and_skipped() {
    let data = tempfile::tempdir().unwrap();
    let garbage = b"\xff\xfe\n{\"request_id\":\n{}\n[[[[\n";
    for series in ["starts", "steps", "requests"] {
        std::fs::write(data.path().join(format!("{series}-0000000000000000.jsonl")), garbage).unwrap();
    }
    let mut command = binary();
    command.args(["serve", "--metrics", "off", "--data-dir"]).arg(data.path()).args(["--listen", "127.0.0.1:0"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("listening") {
        assert!(std::io::BufRead::read_line(&mut reader, &mut log).unwrap() > 0, "{log}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(log.contains("steps-0000000000000000.jsonl:2:") && log.contains("damaged=12"), "{log}");
}

/// Deletes `folder`, which the predictor may make again meanwhile.
fn delete_folder(folder: &Path) {
    while let Err(error) = std::fs::remove_dir_all(folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

/// Puts a file in the place of `folder`.
fn replace_by_file(folder: &Path) {
    loop {
        delete_folder(folder);
        match std::fs::write(folder, "a file") {
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {}
            written => return written.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_log_whose_folder_is_deleted_goes_on_in_a_new_one_within_a_second() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let predictor = Predictor::start(&folder, &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let first = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("w", 1) };
    stream.send(first).await;
    assert!(stream.acknowledged(1).await.logged);
    delete_folder(&folder);
    // Nobody sends anything meanwhile.
    let warning = predictor.wait_for_log("was deleted while it was written");
    assert!(warning.contains("WARN"), "{warning}");
    for step in 2..=4 {
        let next = pb::StreamStepsRequest { events: vec![event("a", step)], ..message("w", u64::from(step)) };
        stream.send(next).await;
        assert!(stream.acknowledged(u64::from(step)).await.logged);
    }
    let mut health = HealthClient::new(predictor.channel().await);
    let service = "eoscast.predictor.v1.EventLog".to_owned();
    assert_eq!(health.check(HealthCheckRequest { service }).await.unwrap().into_inner().status, 1);
    assert_eq!(
        lines(&folder, "steps-").iter().map(|line| line["step"].as_u64()).collect::<Vec<_>>(),
        [Some(2), Some(3), Some(4)]
    );
    assert_eq!(lines(&folder, "gaps").len(), 1);
    // The folder in the way of the log is worse: it cannot be written.
    replace_by_file(&folder);
    assert!(predictor.wait_for_log("event log failed").contains("ERROR"));
    loop {
        let service = "eoscast.predictor.v1.EventLog".to_owned();
        if health.check(HealthCheckRequest { service }).await.unwrap().into_inner().status == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Files may not grow beyond 16 KiB until the limit is lifted: to the predictor, a full disk.
#[tokio::test]
async fn a_full_disk_stops_the_logging_and_not_the_serving() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -S -f 32; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_eoscast-predictor"), "serve", "--metrics", "off", "--data-dir"]);
    command.arg(data.path());
    let predictor = Predictor::spawn(command);
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    let mut step = 0;
    let refused = loop {
        step += 1;
        stream
            .send(pb::StreamStepsRequest { events: vec![event("a", step)], ..message("w", 1 + u64::from(step)) })
            .await;
        let response = stream.acknowledged(1 + u64::from(step)).await;
        if !response.logged {
            break step;
        }
        assert!(step < 1_000, "the disk never filled");
    };
    assert!(predictor.wait_for_log("event log failed").contains("ERROR"));
    let logged = lines(data.path(), "steps-");
    assert_eq!(logged.len() as u32, refused - 1, "every acknowledged step is in the log, and no part of another");

    let mut health = HealthClient::new(predictor.channel().await);
    let mut status = async |service: &str| {
        health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status
    };
    assert_eq!(status("eoscast.predictor.v1.EventLog").await, 2);
    assert_eq!(status("eoscast.predictor.v1.PredictorService").await, 1);
    stream
        .send(pb::StreamStepsRequest { events: vec![event("a", step + 1)], ..message("w", 2 + u64::from(step)) })
        .await;
    stream.acknowledged(2 + u64::from(step)).await;
    // Estimates go on.
    stream.estimate_at(step + 1).await;
    // Its outcome is owed: later estimates rest on it.
    let whole = pb::StreamStepsRequest {
        started: vec![started("b")],
        events: vec![finished("b", 1, pb::FinishReason::Stop)],
        ..message("w", 3 + u64::from(step))
    };
    stream.send(whole).await;
    assert!(!stream.acknowledged(3 + u64::from(step)).await.logged);

    // Room again: after at most 5 s the log goes on, and replay tells that steps are missing instead of guessing.
    let lifted = Command::new("prlimit").args(["--pid", &predictor.pid(), "--fsize=unlimited"]).status().unwrap();
    assert!(lifted.success());
    step += 2;
    loop {
        step += 1;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        stream
            .send(pb::StreamStepsRequest { events: vec![event("a", step)], ..message("w", 1 + u64::from(step)) })
            .await;
        if stream.acknowledged(1 + u64::from(step)).await.logged {
            break;
        }
        assert!(step < refused + 100, "logging never came back");
    }
    assert!(predictor.terminate());
    let replay = binary().arg("replay").arg(data.path()).arg("--json").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&replay.stdout).unwrap();
    // With those of b on arrival, which stand beside its outcome once more.
    let identical = Some(u64::from(refused) + 2);
    assert_eq!((&report["different"], report["identical"].as_u64()), (&0.into(), identical), "{report}");
    let missing = serde_json::json!({"earlier steps of the request are not in the log": 1});
    assert_eq!(report["not_recomputable"], missing, "{report}");
    assert_eq!(lines(data.path(), "requests-")[0]["request_id"], "b");
    let gaps = lines(data.path(), "gaps");
    assert!(gaps.len() == 1 && gaps[0]["missing"]["steps"].as_u64() > Some(2), "{gaps:?}");
    assert_eq!((&report["gaps"], &report["missing_lines"]), (&1.into(), &gaps[0]["missing"]["steps"]), "{report}");
}
