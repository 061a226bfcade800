//! The engine over a scripted model that checks every batch it is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fairness;
mod length_control;
mod load;
mod stopping;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use eoscast_metrics::format::Format;
use eoscast_proto::domain::{Complete, FinishReason, MatchedStop, ReplyEvent, RequestId, SamplingParams};
use eoscast_proto::status::ServiceError;
use eoscast_worker::bounds::ClientKey;
use eoscast_worker::engine::{EngineHandle, PreparedRequest, ReplyStream};
use eoscast_worker::runner::ScriptedRunner;
use eoscast_worker::runner::scripted::peaked_logits;
use proptest::prelude::*;
use support::{EOS, ROOMY, Setup, VOCAB, says, stepwise, until};
use tokio_stream::StreamExt;

fn request(id: &str, prompt: &str, max_tokens: u32) -> PreparedRequest {
    PreparedRequest {
        request_id: RequestId::try_from(id.to_owned()).unwrap(),
        client_request_id: None,
        client: ClientKey::default(),
        prompt: prompt.bytes().map(u32::from).collect(),
        prompt_text: None,
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

async fn collect(mut reply: ReplyStream) -> Result<Outcome, ServiceError> {
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
        let replies: Vec<ReplyStream> = (0..prompts.len()).map(|i| submit(&engine, i)).collect();
        for (reply, expected) in replies.into_iter().zip(&alone) {
            assert_eq!(&collect(reply).await.unwrap().tokens, expected);
        }
        assert_eq!(engine.metrics().load().0.preemptions > 0, must_preempt);
    }
}

#[tokio::test]
async fn a_second_request_computes_only_what_the_first_did_not() {
    let preamble = "You are a terse assistant. ".repeat(38)[..1000].to_owned();
    let mut replies = Vec::new();
    for prefix_cache in [false, true] {
        let (engine, _thread) = Setup { prefix_cache, ..ROOMY }.start(babbles);
        for question in ["Why?", "When?"] {
            let outcome =
                collect(engine.submit(request("a", &(preamble.clone() + question), 40)).unwrap()).await.unwrap();
            replies.push((outcome.tokens, outcome.complete.cached_prompt_tokens));
        }
        let metrics = engine.metrics().encode(engine.link(), Format::Text).unwrap();
        let hits = if prefix_cache { "eoscast_prefix_cache_hits_total 1000\n" } else { "hits_total 0\n" };
        assert!(metrics.contains(hits), "{metrics}");
    }
    let [(why, 0), (when, 0), (cached_why, 0), (cached_when, 1000)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((why, when), (cached_why, cached_when));
}

/// A request of a run in which several share what they begin with.
#[derive(Clone, Debug)]
struct Chat {
    preamble: usize,
    preamble_tokens: usize,
    question: String,
    max_tokens: u32,
    /// The client leaves after so many tokens.
    patience: usize,
}

fn chat() -> impl Strategy<Value = Chat> {
    let patience = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..20];
    (0usize..3, 0usize..60, "[a-c]{1,12}", 1u32..60, patience).prop_map(
        |(preamble, preamble_tokens, question, max_tokens, patience)| Chat {
            preamble,
            preamble_tokens,
            question,
            max_tokens,
            patience,
        },
    )
}

/// The tokens of each reply, as far as its client listened, and the preemptions and cached tokens of all.
async fn converse(setup: &Setup, chats: &[Chat]) -> (Vec<Vec<u32>>, u64, u32) {
    let (engine, _thread) = setup.start(babbles);
    let replies: Vec<ReplyStream> = (0..)
        .zip(chats)
        .map(|(i, chat)| {
            let preamble = ["x", "yy", "xyz"][chat.preamble].repeat(60);
            let prompt = format!("{}{}", &preamble[..chat.preamble_tokens], chat.question);
            let mut request = request(&format!("r{i}"), &prompt, chat.max_tokens);
            // The same question gets the same answer, so that replies are shared too.
            request.seed = 1;
            engine.submit(request).unwrap()
        })
        .collect();
    let (mut tokens, mut cached) = (Vec::new(), 0);
    for (mut reply, chat) in replies.into_iter().zip(chats) {
        let mut heard = Vec::new();
        while heard.len() < chat.patience {
            match reply.next().await.unwrap().unwrap() {
                ReplyEvent::Chunk(chunk) => heard.extend(chunk.token_ids),
                ReplyEvent::Complete(complete) => {
                    cached += complete.cached_prompt_tokens;
                    break;
                }
            }
        }
        tokens.push(heard);
    }
    (tokens, engine.metrics().load().0.preemptions, cached)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replies_are_the_same_with_and_without_a_prefix_cache(
        chats in prop::collection::vec(chat(), 1..24),
        num_blocks in 40usize..120,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let setup = Setup { num_blocks, ..ROOMY };
        runtime.block_on(async {
            let alone = converse(&Setup { prefix_cache: false, max_running: 1, ..ROOMY }, &chats).await.0;
            for policy in ["fcfs+aggressive+lifo", "srpt"] {
                prop_assert_eq!(&converse(&Setup { policy, ..setup }, &chats).await.0, &alone);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_preempted_request_comes_back_to_the_same_reply_through_the_prefix_cache() {
    let chat =
        |preamble| Chat { preamble, preamble_tokens: 40, question: "abc".into(), max_tokens: 60, patience: usize::MAX };
    let chats: Vec<Chat> = (0..24).map(|i| chat(i % 3)).collect();
    let alone = converse(&Setup { prefix_cache: false, max_running: 1, ..ROOMY }, &chats).await.0;
    let (tokens, preemptions, cached) = converse(&Setup { num_blocks: 40, ..ROOMY }, &chats).await;
    assert_eq!(tokens, alone);
    assert!(preemptions > 0 && cached > 0, "{preemptions} preemptions, {cached} tokens cached");
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
async fn who_sees_a_reply_end_finds_its_last_step_told_to_the_predictor() {
    let (engine, _thread) = ROOMY.start(says(2, "hello"));
    for round in 1..=300 {
        collect(engine.submit(request("a", "hi", 50)).unwrap()).await.unwrap();
        // The arrival, five letters and EOS.
        assert_eq!(engine.link().status().sequence_number, round * 7);
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
