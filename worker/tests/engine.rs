//! The engine over a scripted model that checks every batch it is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use eoscast_proto::domain::{Complete, FinishReason, MatchedStop, ReplyEvent, RequestId, SamplingParams};
use eoscast_proto::status::ServiceError;
use eoscast_worker::engine::{EngineHandle, PreparedRequest, Reply};
use eoscast_worker::runner::ScriptedRunner;
use eoscast_worker::runner::scripted::peaked_logits;
use support::{EOS, ROOMY, Setup, VOCAB, says, stepwise, until};
use tokio_stream::StreamExt;

fn request(id: &str, prompt: &str, max_tokens: u32) -> PreparedRequest {
    PreparedRequest {
        request_id: RequestId::try_from(id.to_owned()).unwrap(),
        prompt: prompt.bytes().map(u32::from).collect(),
        sampling: SamplingParams::default(),
        max_tokens,
        seed: 7,
        priority: 0,
        task: None,
        deadline: None,
        include_eos_logprob: true,
        include_estimate: true,
    }
}

struct Outcome {
    text: String,
    tokens: Vec<u32>,
    complete: Complete,
}

async fn collect(mut reply: Reply) -> Result<Outcome, ServiceError> {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Chunk(chunk) => {
                assert_eq!(chunk.eos_logprobs.len(), chunk.token_ids.len());
                text.push_str(&chunk.text);
                tokens.extend(chunk.token_ids);
            }
            ReplyEvent::Complete(complete) => return Ok(Outcome { text, tokens, complete }),
        }
    }
    panic!("the reply ended without a complete");
}

/// A flat enough distribution that depends on everything before, with an end in it.
fn babbles(tokens: &[u32]) -> Vec<f32> {
    let mut state = tokens.iter().fold(11u64, |h, t| (h ^ u64::from(*t)).wrapping_mul(0x0100_0000_01b3));
    let mut logits: Vec<f32> = (0..VOCAB)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 * 3.0
        })
        .collect();
    logits[EOS as usize] = 1.0;
    logits
}

#[tokio::test]
async fn a_reply_ends_at_eos_which_counts_as_a_token_and_has_no_text() {
    let (engine, _thread) = ROOMY.start(says(2, "hello"));
    let outcome = collect(engine.submit(request("a", "hi", 50)).unwrap()).await.unwrap();
    assert_eq!(outcome.text, "hello");
    assert_eq!(outcome.complete.finish_reason, FinishReason::Stop);
    assert_eq!(outcome.complete.matched_stop, Some(MatchedStop::Token(EOS)));
    assert_eq!((outcome.complete.prompt_tokens, outcome.complete.completion_tokens), (2, 6));
}

#[tokio::test]
async fn max_tokens_cuts_with_reason_length() {
    let (engine, _thread) = ROOMY.start(says(2, "hello"));
    let outcome = collect(engine.submit(request("a", "hi", 3)).unwrap()).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.complete.finish_reason), ("hel", FinishReason::Length));
}

#[tokio::test]
async fn a_stop_text_ends_the_reply_and_is_not_part_of_it() {
    let (engine, _thread) = ROOMY.start(says(2, "one two three"));
    let mut stopped = request("a", "hi", 50);
    stopped.sampling.stop = vec!["two".into()];
    let outcome = collect(engine.submit(stopped).unwrap()).await.unwrap();
    assert_eq!(outcome.text, "one ");
    assert_eq!(outcome.complete.matched_stop, Some(MatchedStop::Text("two".into())));
}

#[tokio::test]
async fn replies_are_the_same_alone_together_and_with_preemption() {
    let prompts: Vec<String> = (0..16).map(|i| format!("prompt number {i}, {}", "x".repeat(i * 3))).collect();
    let submit = |engine: &EngineHandle, i: usize| {
        let mut request = request(&format!("r{i}"), &prompts[i], 120);
        request.seed = 1000 + i as u64;
        engine.submit(request).unwrap()
    };
    let mut alone = Vec::new();
    let (engine, _thread) = ROOMY.start(babbles);
    for i in 0..prompts.len() {
        alone.push(collect(submit(&engine, i)).await.unwrap().tokens);
    }
    assert!(alone.iter().any(|tokens| tokens.len() < 120), "no reply ended by itself");

    let tight = Setup { num_blocks: 60, ..ROOMY };
    for (setup, must_preempt) in [(&ROOMY, false), (&tight, true)] {
        let (engine, _thread) = setup.start(babbles);
        let replies: Vec<Reply> = (0..prompts.len()).map(|i| submit(&engine, i)).collect();
        for (reply, expected) in replies.into_iter().zip(&alone) {
            assert_eq!(&collect(reply).await.unwrap().tokens, expected);
        }
        assert_eq!(engine.metrics().load().0.preemptions > 0, must_preempt);
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_blocks_within_a_step() {
    let (allow, script) = stepwise(|_| peaked_logits(VOCAB, 65));
    let (engine, _thread) = ROOMY.start(script);
    let gone = engine.submit(request("gone", "hi", 1000)).unwrap();
    until("the request runs", || engine.metrics().load().0.running_requests == 1 || allow.send(()).is_err()).await;
    drop(gone);
    // The step under way may end; the next one would need another permission.
    allow.send(()).unwrap();
    until("the blocks are free", || engine.metrics().load().0.kv_blocks_used == 0).await;
    assert!(!engine.abort("gone".to_owned().try_into().unwrap()), "its id is free again");
}

#[tokio::test]
async fn a_deadline_ends_the_reply_with_deadline_exceeded() {
    let (engine, _thread) = ROOMY.start(|_| peaked_logits(VOCAB, 65));
    let mut late = request("late", "hi", 4000);
    late.deadline = Some(Instant::now() + Duration::from_millis(50));
    let error = collect(engine.submit(late).unwrap()).await.err().unwrap();
    assert!(matches!(error, ServiceError::DeadlineExceeded(_)), "{error}");
    until("the blocks are free", || engine.metrics().load().0.kv_blocks_used == 0).await;
}

#[tokio::test]
async fn an_abort_completes_the_reply_with_reason_abort() {
    let (engine, _thread) = ROOMY.start(|_| peaked_logits(VOCAB, 65));
    let reply = engine.submit(request("a", "hi", 4000)).unwrap();
    assert!(engine.abort(reply.request_id.clone()));
    assert_eq!(collect(reply).await.unwrap().complete.finish_reason, FinishReason::Abort);
}

#[tokio::test]
async fn a_full_queue_and_a_name_in_use_are_refused_at_once() {
    let (allow, script) = stepwise(|_| peaked_logits(VOCAB, 65));
    let (engine, _thread) = Setup { max_waiting: 2, max_running: 1, ..ROOMY }.start(script);
    let _running = engine.submit(request("a", "hi", 9)).unwrap();
    allow.send(()).unwrap();
    until("the first runs", || engine.metrics().load().0.running_requests == 1).await;
    let _waiting = [engine.submit(request("b", "hi", 9)).unwrap(), engine.submit(request("c", "hi", 9)).unwrap()];
    let full = engine.submit(request("d", "hi", 9)).err().unwrap();
    assert!(matches!(full, ServiceError::ResourceExhausted { .. }), "{full}");
    drop(allow);
    until("all are done", || engine.metrics().load().0.generated_tokens == 27).await;
    let (allow, script) = stepwise(|_| peaked_logits(VOCAB, 65));
    let (engine, _thread) = ROOMY.start(script);
    let _first = engine.submit(request("a", "hi", 9)).unwrap();
    let taken = engine.submit(request("a", "hi", 9)).err().unwrap();
    assert!(matches!(taken, ServiceError::AlreadyExists(_)), "{taken}");
    drop(allow);
}

#[tokio::test]
async fn an_id_is_free_again_as_soon_as_its_reply_has_ended() {
    let (engine, _thread) = ROOMY.start(says(2, "x"));
    for _ in 0..2000 {
        collect(engine.submit(request("a", "hi", 5)).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_step_that_fails_fails_its_requests_and_no_others() {
    let (engine, _thread) = ROOMY.start_runner(|spec| {
        let mut runner = ScriptedRunner::new(spec, says(2, "hello"));
        runner.fail_on_call(2);
        runner
    });
    let error = collect(engine.submit(request("a", "hi", 50)).unwrap()).await.err().unwrap();
    assert!(matches!(error, ServiceError::Internal(_)), "{error}");
    let outcome = collect(engine.submit(request("b", "hi", 50)).unwrap()).await.unwrap();
    assert_eq!(outcome.text, "hello");
}

#[tokio::test]
async fn logits_that_are_no_distribution_fail_their_request_alone() {
    let (engine, _thread) =
        ROOMY.start(
            |tokens: &[u32]| {
                if tokens[0] == u32::from(b'!') { vec![f32::NAN; VOCAB] } else { peaked_logits(VOCAB, EOS) }
            },
        );
    let bad = engine.submit(request("bad", "!!", 50)).unwrap();
    let good = engine.submit(request("good", "hi", 50)).unwrap();
    assert!(matches!(collect(bad).await.err().unwrap(), ServiceError::Internal(_)));
    assert_eq!(collect(good).await.unwrap().complete.finish_reason, FinishReason::Stop);
}

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
