//! What happens to requests when the engine stops.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{FinishReason, RequestId};
use eoscast_proto::status::ServiceError;
use eoscast_worker::engine::{EngineHandle, ReplyStream};
use eoscast_worker::runner::scripted::peaked_logits;

use crate::support::{EOS, ROOMY, VOCAB, says, stepwise};
use crate::{collect, request};

#[tokio::test]
async fn a_drain_lets_running_requests_end_and_refuses_new_ones() {
    let (allow, script) = stepwise(says(2, "hello"));
    let (engine, thread) = ROOMY.start(script);
    let reply = engine.submit(request("a", "hi", 50)).unwrap();
    engine.drain(Instant::now() + Duration::from_secs(20));
    let refused = engine.submit(request("b", "hi", 50)).err().unwrap();
    assert!(matches!(refused, ServiceError::Unavailable(_)), "{refused}");
    drop(allow);
    assert_eq!(collect(reply).await.unwrap().text, "hello");
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn a_drain_aborts_what_still_runs_at_its_deadline() {
    let (engine, thread) = ROOMY.start(|_| peaked_logits(VOCAB, 65));
    let reply = engine.submit(request("a", "hi", 4000)).unwrap();
    engine.drain(Instant::now());
    assert_eq!(collect(reply).await.unwrap().complete.finish_reason, FinishReason::Abort);
    thread.ended().await.unwrap();
}

/// Submits request `late`, and begins a drain when `submit` has passed its first check for one.
fn submit_into_a_drain(engine: &EngineHandle) -> Result<ReplyStream, ServiceError> {
    let late = RequestId::try_from("late".to_owned()).unwrap();
    // The announcement waits for these.
    let estimates = engine.link().estimates();
    thread::scope(|scope| {
        let submitting = scope.spawn(|| engine.submit(request("late", "hi", 50)));
        while !engine.abort(late.clone()) {
            thread::sleep(Duration::from_millis(1));
        }
        let draining = scope.spawn(|| engine.drain(Instant::now() + Duration::from_secs(20)));
        // Time for the drain to reach the engine, should nothing hold it up.
        thread::sleep(Duration::from_millis(50));
        drop(estimates);
        draining.join().unwrap();
        submitting.join().unwrap()
    })
}

/// A request is either refused and unknown to the predictor, or accepted, announced and answered.
async fn assert_all_or_nothing(engine: &EngineHandle, submitted: Result<ReplyStream, ServiceError>, announced: u64) {
    match submitted {
        Ok(reply) => assert_eq!(collect(reply).await.unwrap().complete.finish_reason, FinishReason::Stop),
        Err(refused) => {
            assert!(matches!(refused, ServiceError::Unavailable(_)), "{refused}");
            assert_eq!(engine.link().status().sequence_number, announced);
        }
    }
}

#[tokio::test]
async fn a_submit_that_meets_a_drain_of_an_idle_engine_is_refused_or_answered() {
    let (engine, thread) = ROOMY.start(says(2, "hello"));
    let submitted = submit_into_a_drain(&engine);
    assert_all_or_nothing(&engine, submitted, 0).await;
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn a_submit_that_meets_a_drain_during_the_last_step_is_refused_or_answered() {
    let (entered, has_entered) = mpsc::channel();
    let (allow, mut script) = stepwise(|_| peaked_logits(VOCAB, EOS));
    let (engine, thread) = ROOMY.start(move |tokens: &[u32]| {
        // Nobody waits for the second step.
        let _ = entered.send(());
        script(tokens)
    });
    let last = engine.submit(request("last", "hi", 1)).unwrap();
    has_entered.recv().unwrap();
    let submitted = submit_into_a_drain(&engine);
    drop(allow);
    collect(last).await.unwrap();
    // The arrival and the only token of the other request.
    assert_all_or_nothing(&engine, submitted, 2).await;
    thread.ended().await.unwrap();
}

#[tokio::test]
async fn a_request_that_no_engine_takes_is_not_announced() {
    let (engine, thread) = ROOMY.start(|_| panic!("a fault of the model"));
    let _failed = engine.submit(request("a", "hi", 50)).unwrap();
    thread.ended().await.unwrap_err();
    let refused = engine.submit(request("b", "hi", 50)).err().unwrap();
    assert!(matches!(refused, ServiceError::Unavailable(_)), "{refused}");
    assert_eq!(engine.link().status().sequence_number, 1, "the arrival of the first request");
}
