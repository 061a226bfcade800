use eoscast_proto::predictor::v1 as pb;
use tonic::Code;
use tonic_types::StatusExt;

use crate::predictor::{Predictor, lines};
use crate::workload::{event, finished, message, started};

#[tokio::test]
async fn a_stream_begins_with_the_prior_then_steps_are_answered_logged_and_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    assert_eq!(stream.next().await.unwrap().unwrap().prior.unwrap().outcomes, 0);
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    assert_eq!(stream.next().await.unwrap().unwrap().estimates[0].step, 0);
    stream.send(pb::StreamStepsRequest { events: vec![event("a", 1)], ..message("w", 2) }).await;
    let end = finished("a", 2, pb::FinishReason::Stop);
    stream.send(pb::StreamStepsRequest { events: vec![end], ..message("w", 3) }).await;
    let acknowledged = stream.acknowledged(3).await;
    assert!(acknowledged.logged);
    let estimate = stream.estimate_at(1).await;
    assert_eq!((estimate.step, estimate.source.as_str(), estimate.quantiles.len()), (1, "prior", 13));

    let steps = lines(data.path(), "steps-");
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0]["estimate"]["mean"].as_f64().unwrap() as f32, estimate.mean);
    assert_eq!((steps[1]["finish_reason"].as_str(), steps[1]["estimate"].is_null()), (Some("stop"), true));
    assert_eq!(lines(data.path(), "requests-")[0]["output_length"], 2);
    assert_eq!(lines(data.path(), "starts-")[0]["request_id"], "a");
}

#[tokio::test]
async fn closing_the_sending_side_still_gets_every_acknowledgement() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--fsync", "batch"]);
    let stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    for step in 1..=100 {
        stream
            .send(pb::StreamStepsRequest { events: vec![event("a", step)], ..message("w", 1 + u64::from(step)) })
            .await;
    }
    assert_eq!(stream.half_close().await.last_acknowledgement().await, 101);
    assert_eq!(lines(data.path(), "steps-").len(), 100);
}

#[tokio::test]
async fn messages_sent_again_after_a_reconnect_are_acknowledged_and_not_logged_twice() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let first = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("w", 1) };
    stream.send(first.clone()).await;
    stream.acknowledged(1).await;
    drop(stream);

    let mut stream = predictor.stream().await;
    stream.send(first).await;
    let again = stream.acknowledged(1).await;
    assert!(again.logged);
    stream.estimate_at(1).await;
    let announced = pb::RequestStarted { output_length: 1, ..started("a") };
    let next = pb::StreamStepsRequest { started: vec![announced], events: vec![event("a", 2)], ..message("w", 2) };
    stream.send(next).await;
    stream.acknowledged(2).await;
    let steps: Vec<_> = lines(data.path(), "steps-").iter().map(|line| line["step"].as_u64()).collect();
    assert_eq!(steps, [Some(1), Some(2)]);
    assert_eq!(lines(data.path(), "steps-")[1]["observed"], 2);
}

#[tokio::test]
async fn a_bad_message_ends_its_stream_alone_and_names_the_field() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut healthy = predictor.stream().await;
    healthy.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("healthy", 1) }).await;
    healthy.acknowledged(1).await;

    let good =
        || pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("bad", 1) };
    let with_event = |change: &dyn Fn(&mut pb::StepEvent)| {
        let mut message = good();
        change(&mut message.events[0]);
        message
    };
    let hostile = [
        ("worker_id", pb::StreamStepsRequest { worker_id: "\u{7}\n".into(), ..good() }),
        ("epoch", pb::StreamStepsRequest { epoch: 0, ..good() }),
        ("sequence_number", pb::StreamStepsRequest { sequence_number: 0, ..good() }),
        ("timestamp", pb::StreamStepsRequest { timestamp: None, ..good() }),
        ("events[0].request_id", with_event(&|event| event.request_id = "x".repeat(1 << 20))),
        ("events[0].eos_logprob", with_event(&|event| event.eos_logprob = f32::NAN)),
        ("events[0].eos_logprob_sampled", with_event(&|event| event.eos_logprob_sampled = 0.5)),
        ("events[0].entropy", with_event(&|event| event.entropy = -1.0)),
        ("events[0].step", with_event(&|event| event.step = 0)),
        ("events[0].finish_reason", with_event(&|event| event.finish_reason = 99)),
        ("events", pb::StreamStepsRequest { events: vec![event("a", 1); 4097], ..good() }),
        ("started", pb::StreamStepsRequest { started: vec![started("a"); 4097], ..good() }),
    ];
    for (field, message) in hostile {
        let mut stream = predictor.stream().await;
        stream.send(message).await;
        let status = stream.ended().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }
    healthy.send(pb::StreamStepsRequest { events: vec![event("a", 1)], ..message("healthy", 2) }).await;
    healthy.acknowledged(2).await;
    assert_eq!(lines(data.path(), "steps-").len(), 1, "nothing of a bad message is applied");
}

#[tokio::test]
async fn a_stream_speaks_for_one_worker_only() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    stream.send(message("w", 1)).await;
    stream.send(message("other", 2)).await;
    let status = stream.ended().await.unwrap_err();
    assert_eq!((status.code(), status.message().split(':').next()), (Code::InvalidArgument, Some("worker_id")));
}

#[tokio::test]
async fn a_newer_stream_of_a_worker_takes_over_and_an_older_run_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut old = predictor.stream().await;
    old.send(message("w", 1)).await;
    old.acknowledged(1).await;
    let mut new = predictor.stream().await;
    new.send(message("w", 2)).await;
    new.acknowledged(2).await;
    let status = old.ended().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);

    let mut stale = predictor.stream().await;
    stale.send(pb::StreamStepsRequest { epoch: 1, ..message("w", 1) }).await;
    assert_eq!(stale.ended().await.unwrap_err().code(), Code::FailedPrecondition);
    new.send(message("w", 3)).await;
    new.acknowledged(3).await;
}

#[tokio::test]
async fn requests_of_a_worker_that_stays_away_end_as_aborted() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--orphan-timeout", "100ms"]);
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    stream.acknowledged(1).await;
    drop(stream);
    let mut client = predictor.client().await;
    let ask = pb::GetEstimateRequest { request_id: "a".into(), ..Default::default() };
    while client.get_estimate(ask.clone()).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(predictor.terminate());
    let outcome = &lines(data.path(), "requests-")[0];
    assert_eq!((outcome["finish_reason"].as_str(), outcome["censored"].as_bool()), (Some("abort"), Some(true)));
}

#[tokio::test]
async fn at_shutdown_everything_received_is_acknowledged_and_the_worker_told() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    stream.acknowledged(1).await;
    let ending = tokio::spawn(async move { stream.ended().await });
    assert!(tokio::task::spawn_blocking(|| predictor.terminate()).await.unwrap());
    assert_eq!(ending.await.unwrap().unwrap_err().code(), Code::Unavailable);
}
