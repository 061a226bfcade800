//! Replies that are steered to a target length.

use eoscast_proto::domain::{
    FinishReason, Forecast, LengthControl, LengthEstimate, ModelForecast, ReplyEvent, RequestId,
};
use eoscast_worker::engine::{EngineHandle, PreparedRequest};
use tokio_stream::StreamExt;

use crate::support::{EOS, ROOMY, VOCAB, stepwise};
use crate::{babbles, collect, request};

/// Sentences of nine words and a full stop, without end; EOS is likelier after a full stop than elsewhere, and never likely.
fn rambles(tokens: &[u32]) -> Vec<f32> {
    let after_a_sentence = tokens.last() == Some(&u32::from(b'.'));
    let next = if tokens.len() % 10 == 9 { b'.' } else { b'w' };
    let mut logits = vec![-30.0; VOCAB];
    logits[next as usize] = 0.0;
    logits[EOS as usize] = if after_a_sentence { -7.0 } else { -16.0 };
    logits
}

fn controlled(id: &str, seed: u64, target_tokens: u32) -> PreparedRequest {
    let mut request = request(id, "", 80);
    // So that a full stop is every tenth token of the reply.
    request.prompt = vec![u32::from(b'w'); 10];
    request.seed = seed;
    request.sampling.length_control = Some(LengthControl { target_tokens, strength: 6.0 });
    request
}

/// Tells the engine that the request will go on for long, as a predictor would.
fn expect_much(engine: &EngineHandle, id: &str, step: u32) {
    let request_id = RequestId::try_from(id.to_owned()).unwrap();
    engine.link().estimates().update(LengthEstimate {
        request_id,
        step,
        forecast: ModelForecast { source: "test".into(), model_version: "1".into(), remaining: Forecast::point(500.0) },
    });
}

#[tokio::test]
async fn length_control_ends_replies_at_sentence_ends_near_the_target_instead_of_cutting_them() {
    let (mut cut, mut at_sentence_ends) = ([0; 2], 0);
    for (i, target) in [(0, None), (1, Some(48))] {
        let (engine, _thread) = ROOMY.start(rambles);
        for seed in 0..40 {
            let mut request = controlled("a", seed, 48);
            request.sampling.length_control = target.and(request.sampling.length_control);
            let outcome = collect(engine.submit(request).unwrap()).await.unwrap();
            match outcome.complete.finish_reason {
                FinishReason::Length => cut[i] += 1,
                _ if target.is_some() => at_sentence_ends += u32::from(outcome.text.ends_with('.')),
                _ => {}
            }
        }
    }
    println!(
        "cut by max_tokens: {} of 40 without control, {} with; {at_sentence_ends} at sentence ends",
        cut[0], cut[1]
    );
    assert!(cut[0] > 30 && cut[1] < 10, "{cut:?}");
    assert!(at_sentence_ends * 10 >= (40 - cut[1]) * 9, "{at_sentence_ends} of {}", 40 - cut[1]);
}

#[tokio::test]
async fn a_forecast_brings_the_end_forward_to_the_target() {
    let mut lengths = [0; 2];
    for (i, forecast) in [false, true].into_iter().enumerate() {
        for seed in 0..20 {
            let (allow, script) = stepwise(rambles);
            let (engine, _thread) = ROOMY.start(script);
            let mut reply = engine.submit(controlled("a", seed, 48)).unwrap();
            allow.send(()).unwrap();
            let mut step = 0;
            while let Some(event) = reply.next().await {
                let ReplyEvent::Chunk(_) = event.unwrap() else { continue };
                step += 1;
                if forecast {
                    expect_much(&engine, "a", step);
                }
                let _ = allow.send(());
            }
            lengths[i] += step;
        }
    }
    assert!(lengths[1] + 20 * 4 < lengths[0], "tokens of 20 replies, without and with a forecast: {lengths:?}");
}

#[tokio::test]
async fn length_control_whose_target_is_far_changes_no_token() {
    let (engine, _thread) = ROOMY.start(babbles);
    for seed in 0..20 {
        let mut plain = request("a", "hi", 120);
        plain.seed = seed;
        let mut far = plain.clone();
        far.sampling.length_control = Some(LengthControl { target_tokens: 1000, strength: 100.0 });
        let plain = collect(engine.submit(plain).unwrap()).await.unwrap();
        let far = collect(engine.submit(far).unwrap()).await.unwrap();
        assert_eq!(plain.tokens, far.tokens);
    }
}
