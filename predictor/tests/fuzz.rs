//! Fuzz targets of step streams: a second of inputs each as tests, hours by a fuzzer (see CONTRIBUTING.md).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use eoscast_forecast::models::{Artifact, shipped};
use eoscast_predictor::recovery::Recovered;
use eoscast_predictor::tracker::{Applied, Tracker};
use eoscast_proto::domain::StepBatch;
use eoscast_proto::predictor::v1 as pb;
use prost::Message;

/// A tracker with the model that ships.
fn tracker(artifact: &Artifact) -> Tracker {
    Tracker::new(artifact.kind, Some(artifact.clone()), Recovered::default(), Instant::now()).0
}

/// What the predictor does with the bytes of a message; `None` if it refuses them.
fn apply(tracker: &mut Tracker, bytes: &[u8]) -> Option<Applied> {
    let batch = StepBatch::try_from(pb::StreamStepsRequest::decode(bytes).ok()?).ok()?;
    let live = tracker.live_requests();
    let applied = tracker.apply(&batch, 1).ok()?;
    assert!(tracker.live_requests() <= live + batch.started.len(), "only starts make requests live");
    assert!(applied.lines.steps.len() <= batch.events.len());
    assert!(applied.lines.requests.len() <= live + batch.started.len());
    for estimate in &applied.estimates {
        let remaining = &estimate.forecast.remaining;
        assert!(remaining.mean.is_finite() && remaining.mean >= 0.0, "{estimate:?}");
        assert!(remaining.quantiles.is_sorted() && remaining.quantiles.iter().all(|q| q.is_finite()), "{estimate:?}");
        assert!(remaining.end_within.iter().all(|share| (0.0..=1.0).contains(share)), "{estimate:?}");
    }
    Some(applied)
}

#[test]
fn any_bytes_as_a_step_message() {
    let artifact = std::panic::AssertUnwindSafe(shipped().unwrap());
    bolero::check!().for_each(|bytes: &[u8]| {
        apply(&mut tracker(&artifact), bytes);
    });
}

/// One thing that a worker tells: what it is, of which request, a number, and signals.
type Told = (u8, u8, u32, [f32; 4]);

/// Messages of one worker; everything in them is possible on the wire, little of it is sense.
fn messages(told: &[Told]) -> Vec<pb::StreamStepsRequest> {
    let mut messages = vec![];
    let mut message = pb::StreamStepsRequest {
        worker_id: "w".into(),
        epoch: 1,
        sequence_number: 1,
        timestamp: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..Default::default()
    };
    for (what, request, number, signals) in told {
        let request_id = format!("r{}", request % 8);
        // Signals are in their ranges as a rule, so that most messages are taken.
        let logprob = |at: usize| if what & 64 == 0 { -signals[at].abs() } else { signals[at] };
        let max_tokens = [1, 2, 64, 8192, u32::MAX, *number][usize::from(request / 8 % 6)];
        match what % 8 {
            0 => message.started.push(pb::RequestStarted {
                request_id,
                model: ["smollm2-135m", "another"][usize::from(request / 64 % 2)].into(),
                eos_token_ids: vec![2, 0],
                prompt_length: (*number).max(1),
                max_tokens,
                temperature: signals[0].abs().clamp(0.0, 2.0),
                output_length: if what & 32 == 0 { 0 } else { *number },
                ignore_eos: what & 16 != 0,
                target_tokens: if what & 8 == 0 { 0 } else { *number },
                prompt: "List three rivers.\n".repeat(usize::from(*request)),
                ..Default::default()
            }),
            1..=4 => message.events.push(pb::StepEvent {
                request_id,
                step: if what & 32 == 0 { *number % 64 } else { *number },
                token_id: *number,
                eos_logprob: logprob(0),
                eos_logprob_sampled: logprob(1),
                token_logprob: logprob(2),
                entropy: signals[3].abs(),
                top_logprob: logprob(2),
                eos_rank: *number,
                finish_reason: i32::from(what & 16 != 0) * i32::from(request / 8 % 6),
                eos_bias: signals[3],
                newline_logprob: (what & 8 != 0).then_some(logprob(3)),
                sketch: if what & 128 == 0 { vec![] } else { signals.repeat(16) },
                ..Default::default()
            }),
            5 => message.ended.push(pb::RequestEnded {
                request_id,
                finish_reason: i32::from(request / 8 % 6),
                output_length: *number,
            }),
            6 => {
                messages.push(message.clone());
                message.sequence_number = message.sequence_number.wrapping_add(u64::from(*number % 4));
                (message.started, message.events, message.ended) = (vec![], vec![], vec![]);
            }
            _ => {
                messages.push(message.clone());
                (message.epoch, message.sequence_number) = (u64::from(*number), u64::from(*request));
            }
        }
    }
    messages.push(message);
    messages
}

#[test]
fn any_messages_of_a_worker() {
    let artifact = std::panic::AssertUnwindSafe(shipped().unwrap());
    bolero::check!().with_type::<Vec<Told>>().for_each(|told| {
        let mut tracker = tracker(&artifact);
        for message in messages(told) {
            apply(&mut tracker, &message.encode_to_vec());
        }
        let late = Instant::now() + Duration::from_secs(3600);
        tracker.disconnect(1, Instant::now());
        tracker.expire(late, Duration::from_secs(60), 1_700_003_600.0);
        assert_eq!(tracker.live_requests(), 0, "requests of a worker that is gone end");
    });
}
