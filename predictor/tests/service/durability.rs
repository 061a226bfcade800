use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use eoscast_proto::predictor::v1 as pb;

use crate::predictor::{Predictor, binary, files, lines};
use crate::workload::{Engine, event, finished, message, started};

/// Sends what is not acknowledged until `until` is, or the stream breaks. Gives the last acknowledged number.
async fn send_from(predictor: &Predictor, messages: &[pb::StreamStepsRequest], acknowledged: u64, until: u64) -> u64 {
    let mut stream = predictor.stream().await;
    let sender = stream.sender.clone();
    let rest = messages[acknowledged as usize..].to_vec();
    let sending = tokio::spawn(async move {
        for message in rest {
            if sender.send(message).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    let mut last = acknowledged;
    while last < until
        && let Ok(Some(response)) = stream.next().await
    {
        last = last.max(response.acknowledged_sequence_number);
    }
    sending.abort();
    last
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_logged_twice_when_the_predictor_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let messages: Vec<_> = Engine::new("w", 24, 300).collect();
    let last = messages.len() as u64;
    let mut acknowledged = 0;
    for killed_at in [last / 7, last / 3, last / 2, last - 20] {
        let predictor = Predictor::start(data.path(), &["--metrics", "off", "--segment-bytes", "300000"]);
        acknowledged = send_from(&predictor, &messages, acknowledged, killed_at).await;
        predictor.kill();
        // A page cache written back halfway would look like this too.
        let newest = files(data.path(), "steps-").pop().unwrap();
        std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(b"{\"request_id\":\"to").unwrap();
    }
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--segment-bytes", "300000"]);
    assert_eq!(send_from(&predictor, &messages, acknowledged, last).await, last);
    assert!(predictor.terminate());

    let expected: BTreeSet<_> = messages
        .iter()
        .flat_map(|message| &message.events)
        .map(|event| (event.request_id.clone(), u64::from(event.step)))
        .collect();
    let mut logged = BTreeMap::new();
    for line in lines(data.path(), "steps-") {
        *logged
            .entry((line["request_id"].as_str().unwrap().to_owned(), line["step"].as_u64().unwrap()))
            .or_insert(0) += 1;
    }
    assert!(logged.values().all(|count| *count == 1), "logged twice");
    assert_eq!(logged.into_keys().collect::<BTreeSet<_>>(), expected);
    let outcomes = lines(data.path(), "requests-");
    let numbers: Vec<_> = outcomes.iter().map(|line| line["outcome_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
    let ids: BTreeSet<_> = outcomes.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 300);

    let replay = binary().arg("replay").arg(data.path()).arg("--json").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert_eq!((&report["different"], &report["not_recomputable"]), (&0.into(), &serde_json::json!({})), "{report}");
}

#[tokio::test]
async fn live_requests_outcomes_and_estimates_survive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let arrivals = vec![started("waiting"), started("running"), started("done")];
    let events = vec![event("running", 1), finished("done", 1, pb::FinishReason::Stop)];
    stream.send(pb::StreamStepsRequest { started: arrivals, events, ..message("w", 1) }).await;
    stream.send(pb::StreamStepsRequest { events: vec![event("running", 2)], ..message("w", 2) }).await;
    stream.acknowledged(2).await;
    predictor.kill();

    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut client = predictor.client().await;
    let listed = client.list_requests(pb::ListRequestsRequest::default()).await.unwrap().into_inner().requests;
    let names: Vec<_> = listed.iter().map(|request| (request.request_id.as_str(), request.output_length)).collect();
    assert_eq!(names, [("running", 2), ("waiting", 0)]);
    let model = client.get_model(pb::GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!((model.outcomes, model.model_version.as_str()), (1, "prior/1:1"));
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { events: vec![event("running", 3)], ..message("w", 3) }).await;
    stream.acknowledged(3).await;
    assert_eq!(lines(data.path(), "steps-")[3]["observed"], 3);
}

#[tokio::test]
async fn an_outcome_whose_step_was_torn_away_is_not_counted_again() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let first = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("w", 1) };
    let events = vec![finished("a", 2, pb::FinishReason::Stop)];
    let second = pb::StreamStepsRequest { events, ..message("w", 2) };
    stream.send(first.clone()).await;
    stream.send(second.clone()).await;
    stream.acknowledged(2).await;
    predictor.kill();
    let steps = &files(data.path(), "steps-")[0];
    let text = std::fs::read_to_string(steps).unwrap();
    std::fs::write(steps, &text[..text.len() - 40]).unwrap();

    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    predictor_has_live(&predictor, 0).await;
    let mut stream = predictor.stream().await;
    stream.send(first).await;
    stream.send(second).await;
    stream.acknowledged(2).await;
    assert_eq!(std::fs::read_to_string(steps).unwrap(), text, "the torn line is written again as it was");
    assert_eq!(lines(data.path(), "requests-").len(), 1);
}

async fn predictor_has_live(predictor: &Predictor, count: usize) {
    let mut client = predictor.client().await;
    let listed = client.list_requests(pb::ListRequestsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.requests.len(), count);
}

#[tokio::test]
async fn a_request_that_began_and_ended_in_the_last_message_is_not_logged_twice() {
    let data = tempfile::tempdir().unwrap();
    let once = pb::StreamStepsRequest {
        started: vec![started("a")],
        events: vec![finished("a", 1, pb::FinishReason::Stop)],
        ..message("w", 1)
    };
    for _ in 0..2 {
        let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
        let mut stream = predictor.stream().await;
        stream.send(once.clone()).await;
        stream.acknowledged(1).await;
        predictor.kill();
    }
    for series in ["starts-", "steps-", "requests-"] {
        assert_eq!(lines(data.path(), series).len(), 1, "{series}");
    }
}

#[tokio::test]
async fn where_length_control_began_survives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let controlled = pb::RequestStarted { target_tokens: 4, ..started("a") };
    let steered = |step| pb::StepEvent { eos_bias: 1.5, ..event("a", step) };
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let first = vec![event("a", 1), event("a", 2), steered(3)];
    stream.send(pb::StreamStepsRequest { started: vec![controlled.clone()], events: first, ..message("w", 1) }).await;
    stream.send(pb::StreamStepsRequest { events: vec![steered(4)], ..message("w", 2) }).await;
    stream.acknowledged(2).await;
    predictor.kill();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let last = pb::StepEvent { eos_bias: 2.0, ..finished("a", 5, pb::FinishReason::Stop) };
    let again = pb::RequestStarted { output_length: 4, ..controlled };
    stream.send(pb::StreamStepsRequest { started: vec![again], events: vec![last], ..message("w", 3) }).await;
    stream.acknowledged(3).await;
    let outcome = &lines(data.path(), "requests-")[0];
    assert_eq!((&outcome["steered_from"], &outcome["censored"]), (&3.into(), &true.into()), "{outcome}");
}
