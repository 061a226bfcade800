//! What an engine would tell: many requests at once, arriving, stepping and ending at different times.

use eoscast_proto::predictor::v1 as pb;

pub(crate) const EPOCH: u64 = 5;

/// A small generator of pseudo-random numbers (Knuth's MMIX constants).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

pub(crate) fn message(worker_id: &str, sequence_number: u64) -> pb::StreamStepsRequest {
    pb::StreamStepsRequest {
        worker_id: worker_id.into(),
        epoch: EPOCH,
        sequence_number,
        timestamp: Some(prost_types::Timestamp { seconds: 1_700_000_000 + sequence_number as i64, nanos: 5_000_000 }),
        ..Default::default()
    }
}

pub(crate) fn started(request_id: &str) -> pb::RequestStarted {
    pb::RequestStarted {
        request_id: request_id.into(),
        model: "smollm2-135m".into(),
        eos_token_ids: vec![2, 0],
        prompt_length: 20,
        max_tokens: 200,
        temperature: 0.8,
        prompt: "List three rivers.".into(),
        ..Default::default()
    }
}

pub(crate) fn event(request_id: &str, step: u32) -> pb::StepEvent {
    let noise = (step.wrapping_mul(2_654_435_761) % 4096) as f32 / 511.0;
    pb::StepEvent {
        request_id: request_id.into(),
        step,
        token_id: 100 + step,
        eos_logprob: -0.3 - noise,
        eos_logprob_sampled: if step.is_multiple_of(5) { f32::NEG_INFINITY } else { -0.2 - noise },
        token_logprob: -0.7,
        entropy: noise / 3.0,
        top_logprob: -0.1,
        eos_rank: 2 + step,
        newline_logprob: Some(-2.0 - noise),
        sketch: vec![noise, 0.5 - noise],
        ..Default::default()
    }
}

pub(crate) fn finished(request_id: &str, step: u32, reason: pb::FinishReason) -> pb::StepEvent {
    pb::StepEvent { finish_reason: reason.into(), ..event(request_id, step) }
}

/// One engine with up to `live` requests in its batch, until `requests` have ended.
pub(crate) struct Engine {
    worker_id: String,
    random: Random,
    live: usize,
    left: usize,
    sequence_number: u64,
    running: Vec<Running>,
}

struct Running {
    request_id: String,
    step: u32,
    length: u32,
    aborts_at: Option<u32>,
}

impl Engine {
    pub(crate) fn new(worker_id: &str, live: usize, requests: usize) -> Self {
        let random = Random(worker_id.bytes().map(u64::from).sum());
        Self { worker_id: worker_id.into(), random, live, left: requests, sequence_number: 0, running: vec![] }
    }
}

impl Iterator for Engine {
    type Item = pb::StreamStepsRequest;

    fn next(&mut self) -> Option<Self::Item> {
        self.sequence_number += 1;
        let mut message = message(&self.worker_id, self.sequence_number);
        while self.running.len() < self.live && self.left > 0 {
            let request_id = format!("{}-{}", self.worker_id, self.left);
            message.started.push(started(&request_id));
            let length = 1 + self.random.below(200) as u32;
            let aborts_at = (self.random.below(8) == 0).then(|| self.random.below(u64::from(length)) as u32);
            self.running.push(Running { request_id, step: 0, length, aborts_at });
            self.left -= 1;
        }
        self.running.retain_mut(|request| {
            if request.aborts_at == Some(request.step) {
                message.ended.push(pb::RequestEnded {
                    request_id: request.request_id.clone(),
                    finish_reason: pb::FinishReason::Abort.into(),
                    output_length: request.step,
                });
                return false;
            }
            request.step += 1;
            let ends = request.step == request.length;
            message.events.push(match (ends, request.length) {
                (false, _) => event(&request.request_id, request.step),
                (true, 200) => finished(&request.request_id, request.step, pb::FinishReason::Length),
                (true, _) => finished(&request.request_id, request.step, pb::FinishReason::Stop),
            });
            !ends
        });
        (!message.events.is_empty() || !message.ended.is_empty()).then_some(message)
    }
}
