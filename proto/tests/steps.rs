//! Step batches and estimates survive the wire, and every field that can be wrong is refused by name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_proto::domain::{
    EngineLoad, FinishReason, Forecast, LengthEstimate, LengthPrior, ModelForecast, RequestEnded, RequestStarted,
    StepBatch, StepEvent, StepSignals, StepsReply, WorkerRun,
};
use eoscast_proto::predictor::v1 as pb;
use prost::Message;

fn batch() -> StepBatch {
    StepBatch {
        run: WorkerRun { worker_id: "worker-a".to_owned().try_into().unwrap(), epoch: 7 },
        sequence_number: 42,
        timestamp_micros: 1_764_000_000_123_456,
        started: vec![RequestStarted {
            request_id: "r-1".to_owned().try_into().unwrap(),
            model: "smollm2-135m".into(),
            eos_token_ids: vec![2, 0],
            prompt_length: 12,
            max_tokens: 256,
            temperature: 0.8,
            task: Some("summarise".into()),
            output_length: 0,
            ignore_eos: true,
            target_tokens: Some(96),
            prompt: Some("Why is the sky blue?".into()),
        }],
        events: vec![StepEvent {
            request_id: "r-1".to_owned().try_into().unwrap(),
            step: 3,
            token_id: 504,
            signals: StepSignals {
                eos_logprob: -17.25,
                eos_logprob_sampled: f32::NEG_INFINITY,
                token_logprob: -0.5,
                entropy: 1.75,
                top_logprob: -0.25,
                eos_rank: 900,
                sentence_end_logprob: Some(-1.25),
                newline_logprob: None,
            },
            finish_reason: Some(FinishReason::Length),
            eos_bias: 2.5,
            sketch: [0.5, -2.0].into(),
        }],
        ended: vec![RequestEnded {
            request_id: "r-0".to_owned().try_into().unwrap(),
            finish_reason: FinishReason::Abort,
            output_length: 9,
        }],
        load: EngineLoad {
            running_requests: 1,
            waiting_requests: 2,
            kv_blocks_used: 3,
            kv_blocks_total: 4,
            preemptions: 5,
            generated_tokens: 6,
        },
    }
}

fn reply() -> StepsReply {
    let quantiles = std::array::from_fn(|i| i as f32);
    StepsReply {
        acknowledged: 42,
        logged: true,
        estimates: vec![LengthEstimate {
            request_id: "r-1".to_owned().try_into().unwrap(),
            step: 3,
            forecast: ModelForecast {
                source: "prior".into(),
                model_version: "prior/1:9".into(),
                remaining: Forecast { mean: 20.5, quantiles, end_within: [0.0, 0.1, 0.2, 0.3, 1.0] },
            },
        }],
        prior: Some(LengthPrior { quantiles, mean: 30.0, outcomes: 9 }),
    }
}

#[test]
fn a_step_batch_survives_the_wire() {
    let bytes = pb::StreamStepsRequest::from(batch()).encode_to_vec();
    let read = pb::StreamStepsRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(StepBatch::try_from(read).unwrap(), batch());
}

#[test]
fn no_message_is_larger_than_its_bound() {
    let id = "i".repeat(128).try_into().unwrap();
    let longest_start = RequestStarted {
        request_id: id,
        model: "m".repeat(256),
        eos_token_ids: vec![u32::MAX; 64],
        prompt_length: u32::MAX,
        max_tokens: u32::MAX,
        task: Some("\u{1f600}".repeat(64)),
        output_length: u32::MAX,
        target_tokens: Some(u32::MAX),
        prompt: Some("\u{1f600}".repeat(16_384)),
        ..batch().started.remove(0)
    };
    assert_eq!(longest_start.wire_bytes(), RequestStarted::MOST_BYTES);
    let id = || longest_start.request_id.clone();
    let event = batch().events.remove(0);
    let longest_event = StepEvent {
        request_id: id(),
        step: u32::MAX,
        token_id: u32::MAX,
        signals: StepSignals { eos_rank: u32::MAX, newline_logprob: Some(-1.0), ..event.signals },
        sketch: [1.5; 64].into(),
        ..event
    };
    let ended = RequestEnded { request_id: id(), finish_reason: FinishReason::Error, output_length: u32::MAX };
    assert_eq!(ended.wire_bytes(), RequestEnded::MOST_BYTES);
    let longest = StepBatch {
        run: WorkerRun { worker_id: "w".repeat(128).try_into().unwrap(), epoch: u64::MAX },
        sequence_number: u64::MAX,
        timestamp_micros: i64::MAX,
        started: vec![longest_start],
        events: vec![longest_event],
        ended: vec![ended],
        load: EngineLoad {
            running_requests: u32::MAX,
            waiting_requests: u32::MAX,
            kv_blocks_used: u32::MAX,
            kv_blocks_total: u32::MAX,
            preemptions: u64::MAX,
            generated_tokens: u64::MAX,
        },
    };
    for batch in [longest, batch(), StepBatch::for_test("w")] {
        let (bound, encoded) = (batch.wire_bytes(), pb::StreamStepsRequest::from(batch).encoded_len());
        assert!(encoded <= bound && bound <= encoded + 512, "{encoded} bytes, bound {bound}");
    }
}

#[test]
fn a_reply_survives_the_wire() {
    let bytes = pb::StreamStepsResponse::from(reply()).encode_to_vec();
    let read = pb::StreamStepsResponse::decode(bytes.as_slice()).unwrap();
    assert_eq!(StepsReply::try_from(read).unwrap(), reply());
}

#[test]
fn the_wire_form_of_a_step_event_does_not_change() {
    let wire = pb::StepEvent::from(batch().events.remove(0)).encode_to_vec();
    let hex: String = wire.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "0a03722d31100318f80325 00008ac1 2d000080ff 35000000bf 3d0000e03f 45000080be 488407 5002 5d00002040 650000a0bf 72080000003f 000000c0"
            .replace(' ', "")
    );
}

#[test]
fn each_wrong_field_of_a_step_batch_is_refused_by_name() {
    type Spoil = fn(&mut pb::StreamStepsRequest);
    let cases: &[(&str, Spoil)] = &[
        ("worker_id", |m| m.worker_id.clear()),
        ("worker_id", |m| m.worker_id = "two words".into()),
        ("epoch", |m| m.epoch = 0),
        ("sequence_number", |m| m.sequence_number = 0),
        ("timestamp", |m| m.timestamp = None),
        ("timestamp", |m| m.timestamp.as_mut().unwrap().nanos = -1),
        ("timestamp", |m| m.timestamp.as_mut().unwrap().seconds = i64::MAX),
        ("started[0].request_id", |m| m.started[0].request_id = "x".repeat(129)),
        ("started[0].model", |m| m.started[0].model.clear()),
        ("started[0].eos_token_ids", |m| m.started[0].eos_token_ids.clear()),
        ("started[0].prompt_length", |m| m.started[0].prompt_length = 0),
        ("started[0].max_tokens", |m| m.started[0].max_tokens = 0),
        ("started[0].temperature", |m| m.started[0].temperature = f32::NAN),
        ("started[0].prompt", |m| m.started[0].prompt = "ü".repeat(16_385)),
        ("started[0].task", |m| m.started[0].task = "x".repeat(65)),
        ("events[0].request_id", |m| m.events[0].request_id.clear()),
        ("events[0].step", |m| m.events[0].step = 0),
        ("events[0].eos_logprob", |m| m.events[0].eos_logprob = f32::NEG_INFINITY),
        ("events[0].eos_logprob", |m| m.events[0].eos_logprob = 0.5),
        ("events[0].eos_logprob_sampled", |m| m.events[0].eos_logprob_sampled = f32::NAN),
        ("events[0].token_logprob", |m| m.events[0].token_logprob = f32::NAN),
        ("events[0].entropy", |m| m.events[0].entropy = -1.0),
        ("events[0].top_logprob", |m| m.events[0].top_logprob = f32::INFINITY),
        ("events[0].eos_rank", |m| m.events[0].eos_rank = 0),
        ("events[0].finish_reason", |m| m.events[0].finish_reason = 99),
        ("events[0].eos_bias", |m| m.events[0].eos_bias = -1.0),
        ("events[0].eos_bias", |m| m.events[0].eos_bias = f32::NAN),
        ("events[0].sentence_end_logprob", |m| m.events[0].sentence_end_logprob = Some(0.5)),
        ("events[0].newline_logprob", |m| m.events[0].newline_logprob = Some(f32::NEG_INFINITY)),
        ("events[0].sketch", |m| m.events[0].sketch[1] = f32::NAN),
        ("events[0].sketch", |m| m.events[0].sketch = vec![0.0; 65]),
        ("ended[0].request_id", |m| m.ended[0].request_id.clear()),
        ("ended[0].finish_reason", |m| m.ended[0].finish_reason = 0),
    ];
    for (field, spoil) in cases {
        let mut message = pb::StreamStepsRequest::from(batch());
        spoil(&mut message);
        assert_eq!(&StepBatch::try_from(message).unwrap_err().field, field);
    }
}

#[test]
fn each_wrong_field_of_a_reply_is_refused_by_name() {
    type Spoil = fn(&mut pb::StreamStepsResponse);
    let cases: &[(&str, Spoil)] = &[
        ("estimates[0].request_id", |m| m.estimates[0].request_id.clear()),
        ("estimates[0].mean", |m| m.estimates[0].mean = f32::NAN),
        ("estimates[0].quantiles", |m| m.estimates[0].quantiles.truncate(3)),
        ("estimates[0].quantiles", |m| m.estimates[0].quantiles[0] = 99.0),
        ("estimates[0].quantiles", |m| m.estimates[0].quantiles[12] = f32::NAN),
        ("estimates[0].end_within", |m| m.estimates[0].end_within[4] = 1.5),
        ("prior.quantiles", |m| m.prior.as_mut().unwrap().quantiles.clear()),
        ("prior.mean", |m| m.prior.as_mut().unwrap().mean = -1.0),
    ];
    for (field, spoil) in cases {
        let mut message = pb::StreamStepsResponse::from(reply());
        spoil(&mut message);
        assert_eq!(&StepsReply::try_from(message).unwrap_err().field, field);
    }
}
