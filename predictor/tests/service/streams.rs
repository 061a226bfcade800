use eoscast_proto::predictor::v1 as pb;
use tonic::Code;
use tonic_types::StatusExt;

use crate::predictor::{Predictor, files, lines};
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
async fn a_message_that_is_too_large_ends_its_stream_with_a_status_that_says_so() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let long = |n| pb::RequestStarted { prompt: "\u{20ac}".repeat(16_384), ..started(&format!("r{n}")) };
    stream.send(pb::StreamStepsRequest { started: (0..100).map(long).collect(), ..message("w", 1) }).await;
    let status = stream.ended().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().starts_with("message: "), "{status}");
}

/// The epoch that a refused stream is told to go on with.
async fn told_epoch(predictor: &Predictor, message: pb::StreamStepsRequest) -> u64 {
    let mut stream = predictor.stream().await;
    stream.send(message).await;
    let status = stream.ended().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    eoscast_proto::status::next_epoch(&status).expect("the epoch to go on with")
}

#[tokio::test]
async fn a_run_that_is_refused_is_told_the_epoch_with_which_it_is_heard() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("w", 1) }).await;
    stream.acknowledged(1).await;
    drop(stream);
    // Its clock went back.
    let next = told_epoch(&predictor, pb::StreamStepsRequest { epoch: 1, ..message("w", 1) }).await;
    let mut stream = predictor.stream().await;
    let announced = pb::RequestStarted { output_length: 3, ..started("a") };
    stream.send(pb::StreamStepsRequest { epoch: next, started: vec![announced], ..message("w", 7) }).await;
    stream.acknowledged(7).await;
    drop(stream);
    // Numbers that no worker comes to, and what a worker then hears that did not send them.
    let forged = pb::StreamStepsRequest { epoch: next, ..message("w", 1_000_000_000) };
    assert!(told_epoch(&predictor, forged).await > next);
    // An epoch that would shut out all later runs.
    let forged = pb::StreamStepsRequest { epoch: u64::MAX, ..message("w", 1) };
    let told = told_epoch(&predictor, forged).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!((next..=now).contains(&told), "{told}");
    let mut stream = predictor.stream().await;
    stream.send(pb::StreamStepsRequest { epoch: next, ..message("w", 8) }).await;
    stream.acknowledged(8).await;
}

#[tokio::test]
async fn a_forged_epoch_in_the_log_shuts_nobody_out_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    let first = pb::StreamStepsRequest { started: vec![started("a")], events: vec![event("a", 1)], ..message("w", 1) };
    stream.send(first).await;
    stream.acknowledged(1).await;
    predictor.kill();
    for series in ["starts-", "steps-"] {
        for file in files(data.path(), series) {
            let text = std::fs::read_to_string(&file).unwrap();
            let forged = text.replace("\"epoch\":5", &format!("\"epoch\":{}", u64::MAX));
            assert_ne!(forged, text);
            std::fs::write(file, forged).unwrap();
        }
    }
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut stream = predictor.stream().await;
    stream.send(message("w", 1)).await;
    stream.acknowledged(1).await;
    assert_eq!(lines(data.path(), "requests-")[0]["finish_reason"], "abort", "what the log made up has ended");
}

#[tokio::test]
async fn a_worker_that_stayed_away_may_come_back_as_any_run() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--orphan-timeout", "100ms"]);
    let mut stream = predictor.stream().await;
    stream.send(message("w", 100_000)).await;
    stream.acknowledged(100_000).await;
    drop(stream);
    // As workers did before they could be told an epoch: they try again.
    loop {
        let mut stream = predictor.stream().await;
        stream.send(pb::StreamStepsRequest { epoch: 1, ..message("w", 1) }).await;
        if let Ok(Some(response)) = stream.next().await
            && response.acknowledged_sequence_number == 0
            && let Ok(Some(_)) = stream.next().await
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
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
