//! Client to worker: requests.

use super::{finite, optional_text, positive, task, within};
use crate::domain::{ChatMessage, GenerateSpec, Input, RequestId, SamplingParams, limits};
use crate::status::FieldViolation;
use crate::worker::v1 as pb;
use pb::generate_request::Input as WireInput;

impl TryFrom<pb::GenerateRequest> for GenerateSpec {
    type Error = FieldViolation;

    fn try_from(message: pb::GenerateRequest) -> Result<Self, Self::Error> {
        Ok(Self {
            request_id: optional_text(message.request_id).map(RequestId::try_from).transpose()?,
            input: input(message.input)?,
            sampling: message
                .sampling_params
                .unwrap_or_default()
                .try_into()
                .map_err(|violation: FieldViolation| violation.scope("sampling_params"))?,
            priority: message.priority,
            task: task(message.task)?,
            include_eos_logprob: message.include_eos_logprob,
            include_estimate: message.include_estimate,
        })
    }
}

fn input(input: Option<WireInput>) -> Result<Input, FieldViolation> {
    match input {
        None => Err(FieldViolation::new("input", "is missing: give text, chat or token_ids")),
        Some(WireInput::Text(text)) if text.is_empty() => Err(FieldViolation::new("text", "must not be empty")),
        Some(WireInput::Text(text)) => Ok(Input::Text(text)),
        Some(WireInput::TokenIds(tokens)) if tokens.ids.is_empty() => {
            Err(FieldViolation::new("token_ids.ids", "must not be empty"))
        }
        Some(WireInput::TokenIds(tokens)) => Ok(Input::TokenIds(tokens.ids)),
        Some(WireInput::Chat(chat)) if chat.messages.is_empty() => {
            Err(FieldViolation::new("chat.messages", "must not be empty"))
        }
        Some(WireInput::Chat(chat)) => chat
            .messages
            .into_iter()
            .enumerate()
            .map(|(i, pb::ChatMessage { role, content })| match role.as_str() {
                "system" | "user" | "assistant" => Ok(ChatMessage { role, content }),
                _ => Err(FieldViolation::new(
                    format!("chat.messages[{i}].role"),
                    format!("must be system, user or assistant, got {role:?}"),
                )),
            })
            .collect::<Result<_, _>>()
            .map(Input::Chat),
    }
}

impl TryFrom<pb::SamplingParams> for SamplingParams {
    type Error = FieldViolation;

    fn try_from(message: pb::SamplingParams) -> Result<Self, Self::Error> {
        let default = Self::default();
        let sampling = Self {
            temperature: within(
                "temperature",
                message.temperature.unwrap_or(default.temperature),
                0.0,
                limits::TEMPERATURE,
            )?,
            top_p: within("top_p", message.top_p.unwrap_or(default.top_p), f32::MIN_POSITIVE, 1.0)?,
            top_k: message.top_k,
            min_p: within("min_p", message.min_p, 0.0, 1.0)?,
            repetition_penalty: finite(
                "repetition_penalty",
                message.repetition_penalty.unwrap_or(default.repetition_penalty),
            )?,
            frequency_penalty: within(
                "frequency_penalty",
                message.frequency_penalty,
                -limits::PENALTY,
                limits::PENALTY,
            )?,
            presence_penalty: within("presence_penalty", message.presence_penalty, -limits::PENALTY, limits::PENALTY)?,
            max_tokens: message.max_tokens.map(|n| positive("max_tokens", n)).transpose()?,
            min_tokens: message.min_tokens,
            stop: stop_texts(message.stop)?,
            stop_token_ids: message.stop_token_ids,
            ignore_eos: message.ignore_eos,
            seed: message.seed,
            logprobs: message.logprobs,
        };
        sampling.check()?;
        Ok(sampling)
    }
}

fn stop_texts(stop: Vec<String>) -> Result<Vec<String>, FieldViolation> {
    if stop.len() > limits::STOP_TEXTS {
        return Err(FieldViolation::new("stop", format!("at most {} texts, got {}", limits::STOP_TEXTS, stop.len())));
    }
    for (i, text) in stop.iter().enumerate() {
        if text.is_empty() || text.len() > limits::STOP_TEXT_BYTES {
            return Err(FieldViolation::new(
                format!("stop[{i}]"),
                format!("must be 1 to {} bytes, got {}", limits::STOP_TEXT_BYTES, text.len()),
            ));
        }
    }
    Ok(stop)
}

impl SamplingParams {
    /// What concerns more than one field, or no single range.
    fn check(&self) -> Result<(), FieldViolation> {
        if self.repetition_penalty <= 0.0 {
            let got = self.repetition_penalty;
            return Err(FieldViolation::new("repetition_penalty", format!("must be above 0, got {got}")));
        }
        if let Some(max_tokens) = self.max_tokens.filter(|max| self.min_tokens > *max) {
            let got = self.min_tokens;
            return Err(FieldViolation::new(
                "min_tokens",
                format!("must be at most max_tokens {max_tokens}, got {got}"),
            ));
        }
        if self.stop_token_ids.len() > limits::STOP_TOKENS {
            return Err(FieldViolation::new("stop_token_ids", format!("at most {} ids", limits::STOP_TOKENS)));
        }
        if let Some(got) = self.logprobs.filter(|n| *n > limits::LOGPROBS) {
            return Err(FieldViolation::new("logprobs", format!("must be at most {}, got {got}", limits::LOGPROBS)));
        }
        Ok(())
    }
}
