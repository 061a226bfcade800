//! Worker to predictor: step batches.

use std::sync::Arc;

use super::{finish_reason, finite, positive, within};
use crate::domain::{
    EngineLoad, RequestEnded, RequestId, RequestStarted, StepBatch, StepEvent, StepSignals, WorkerId, WorkerRun,
    limits, task_label,
};
use crate::predictor::v1 as pb;
use crate::status::FieldViolation;

const MICROS: i64 = 1_000_000;

impl From<StepBatch> for pb::StreamStepsRequest {
    fn from(batch: StepBatch) -> Self {
        Self {
            worker_id: batch.run.worker_id.into(),
            epoch: batch.run.epoch,
            sequence_number: batch.sequence_number,
            timestamp: Some(prost_types::Timestamp {
                seconds: batch.timestamp_micros.div_euclid(MICROS),
                // In 0..1e9 by the modulus.
                nanos: (batch.timestamp_micros.rem_euclid(MICROS) * 1000) as i32,
            }),
            started: batch.started.into_iter().map(Into::into).collect(),
            events: batch.events.into_iter().map(Into::into).collect(),
            ended: batch.ended.into_iter().map(Into::into).collect(),
            load: Some(batch.load.into()),
        }
    }
}

impl TryFrom<pb::StreamStepsRequest> for StepBatch {
    type Error = FieldViolation;

    fn try_from(message: pb::StreamStepsRequest) -> Result<Self, Self::Error> {
        for (field, value) in [("epoch", message.epoch), ("sequence_number", message.sequence_number)] {
            if value == 0 {
                return Err(FieldViolation::new(field, "must be at least 1"));
            }
        }
        let timestamp = message.timestamp.ok_or_else(|| FieldViolation::new("timestamp", "is missing"))?;
        let timestamp_micros = timestamp
            .seconds
            .checked_mul(MICROS)
            .filter(|_| (0..1_000_000_000).contains(&timestamp.nanos) && timestamp.seconds >= 0)
            .and_then(|micros| micros.checked_add(i64::from(timestamp.nanos) / 1000))
            .ok_or_else(|| FieldViolation::new("timestamp", "is not a time since 1970"))?;
        Ok(Self {
            run: WorkerRun { worker_id: WorkerId::try_from(message.worker_id)?, epoch: message.epoch },
            sequence_number: message.sequence_number,
            timestamp_micros,
            started: each("started", message.started)?,
            events: each("events", message.events)?,
            ended: each("ended", message.ended)?,
            load: message.load.unwrap_or_default().into(),
        })
    }
}

fn each<M, D: TryFrom<M, Error = FieldViolation>>(field: &str, messages: Vec<M>) -> Result<Vec<D>, FieldViolation> {
    messages
        .into_iter()
        .enumerate()
        .map(|(i, message)| D::try_from(message).map_err(|violation| violation.scope(format!("{field}[{i}]"))))
        .collect()
}

impl From<RequestStarted> for pb::RequestStarted {
    fn from(started: RequestStarted) -> Self {
        Self {
            request_id: started.request_id.into(),
            model: started.model,
            eos_token_ids: started.eos_token_ids,
            prompt_length: started.prompt_length,
            max_tokens: started.max_tokens,
            temperature: started.temperature,
            task: started.task.unwrap_or_default(),
            output_length: started.output_length,
            ignore_eos: started.ignore_eos,
            target_tokens: started.target_tokens.unwrap_or(0),
            prompt: started.prompt.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::RequestStarted> for RequestStarted {
    type Error = FieldViolation;

    fn try_from(message: pb::RequestStarted) -> Result<Self, Self::Error> {
        if message.model.is_empty() || message.model.len() > Self::MODEL_BYTES {
            return Err(FieldViolation::new("model", format!("must be 1 to {} bytes", Self::MODEL_BYTES)));
        }
        if message.eos_token_ids.is_empty() || message.eos_token_ids.len() > Self::EOS_IDS {
            return Err(FieldViolation::new("eos_token_ids", format!("must be 1 to {} ids", Self::EOS_IDS)));
        }
        let most = limits::PROMPT_CHARACTERS;
        if message.prompt.len() > most && message.prompt.chars().nth(most).is_some() {
            return Err(FieldViolation::new(
                "prompt",
                format!("must be at most {most} characters; send the last of them"),
            ));
        }
        Ok(Self {
            request_id: RequestId::try_from(message.request_id)?,
            model: message.model,
            eos_token_ids: message.eos_token_ids,
            prompt_length: positive("prompt_length", message.prompt_length)?,
            max_tokens: positive("max_tokens", message.max_tokens)?,
            temperature: within("temperature", message.temperature, 0.0, limits::TEMPERATURE)?,
            task: task_label(message.task)?,
            output_length: message.output_length,
            ignore_eos: message.ignore_eos,
            target_tokens: Some(message.target_tokens).filter(|tokens| *tokens > 0),
            prompt: Some(message.prompt).filter(|text| !text.is_empty()),
        })
    }
}

impl From<StepEvent> for pb::StepEvent {
    fn from(event: StepEvent) -> Self {
        Self {
            request_id: event.request_id.into(),
            step: event.step,
            token_id: event.token_id,
            eos_logprob: event.signals.eos_logprob,
            eos_logprob_sampled: event.signals.eos_logprob_sampled,
            token_logprob: event.signals.token_logprob,
            entropy: event.signals.entropy,
            top_logprob: event.signals.top_logprob,
            eos_rank: event.signals.eos_rank,
            finish_reason: event.finish_reason.map_or(0, |reason| pb::FinishReason::from(reason).into()),
            eos_bias: event.eos_bias,
            sentence_end_logprob: event.signals.sentence_end_logprob,
            newline_logprob: event.signals.newline_logprob,
            sketch: event.sketch.to_vec(),
        }
    }
}

impl TryFrom<pb::StepEvent> for StepEvent {
    type Error = FieldViolation;

    fn try_from(message: pb::StepEvent) -> Result<Self, Self::Error> {
        let sampled = message.eos_logprob_sampled;
        if sampled.is_nan() || sampled > 0.0 {
            return Err(FieldViolation::new("eos_logprob_sampled", format!("must be at most 0, got {sampled}")));
        }
        Ok(Self {
            request_id: RequestId::try_from(message.request_id)?,
            step: positive("step", message.step)?,
            token_id: message.token_id,
            signals: StepSignals {
                eos_logprob: logprob("eos_logprob", message.eos_logprob)?,
                eos_logprob_sampled: sampled,
                token_logprob: logprob("token_logprob", message.token_logprob)?,
                entropy: within("entropy", message.entropy, 0.0, f32::MAX)?,
                top_logprob: logprob("top_logprob", message.top_logprob)?,
                eos_rank: positive("eos_rank", message.eos_rank)?,
                sentence_end_logprob: optional_logprob("sentence_end_logprob", message.sentence_end_logprob)?,
                newline_logprob: optional_logprob("newline_logprob", message.newline_logprob)?,
            },
            finish_reason: finish_reason(message.finish_reason)?,
            eos_bias: within("eos_bias", message.eos_bias, 0.0, f32::MAX)?,
            sketch: sketch(message.sketch)?,
        })
    }
}

fn sketch(values: Vec<f32>) -> Result<Arc<[f32]>, FieldViolation> {
    if values.len() > limits::SKETCH {
        let description = format!("must be at most {} numbers, got {}", limits::SKETCH, values.len());
        return Err(FieldViolation::new("sketch", description));
    }
    values.iter().try_for_each(|value| finite("sketch", *value).map(drop))?;
    Ok(values.into())
}

fn optional_logprob(field: &str, value: Option<f32>) -> Result<Option<f32>, FieldViolation> {
    value.map(|value| logprob(field, value)).transpose()
}

fn logprob(field: &str, value: f32) -> Result<f32, FieldViolation> {
    within(field, finite(field, value)?, f32::MIN, 0.0)
}

impl From<RequestEnded> for pb::RequestEnded {
    fn from(ended: RequestEnded) -> Self {
        Self {
            request_id: ended.request_id.into(),
            finish_reason: pb::FinishReason::from(ended.finish_reason).into(),
            output_length: ended.output_length,
        }
    }
}

impl TryFrom<pb::RequestEnded> for RequestEnded {
    type Error = FieldViolation;

    fn try_from(message: pb::RequestEnded) -> Result<Self, Self::Error> {
        Ok(Self {
            request_id: RequestId::try_from(message.request_id)?,
            finish_reason: finish_reason(message.finish_reason)?
                .ok_or_else(|| FieldViolation::new("finish_reason", "is missing"))?,
            output_length: message.output_length,
        })
    }
}

impl From<EngineLoad> for pb::EngineLoad {
    fn from(load: EngineLoad) -> Self {
        Self {
            running_requests: load.running_requests,
            waiting_requests: load.waiting_requests,
            kv_blocks_used: load.kv_blocks_used,
            kv_blocks_total: load.kv_blocks_total,
            preemptions: load.preemptions,
            generated_tokens: load.generated_tokens,
        }
    }
}

impl From<pb::EngineLoad> for EngineLoad {
    fn from(message: pb::EngineLoad) -> Self {
        Self {
            running_requests: message.running_requests,
            waiting_requests: message.waiting_requests,
            kv_blocks_used: message.kv_blocks_used,
            kv_blocks_total: message.kv_blocks_total,
            preemptions: message.preemptions,
            generated_tokens: message.generated_tokens,
        }
    }
}
