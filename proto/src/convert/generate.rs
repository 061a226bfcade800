//! Client to worker: requests.

use super::optional_text;
use crate::domain::{
    ChatMessage, Conversation, GenerateSpec, Input, LengthControl, RequestId, SamplingParams, task_label,
};
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
            task: task_label(message.task)?,
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
            .map(|(i, pb::ChatMessage { role, content })| {
                ChatMessage::new(role, content).map_err(|violation| violation.scope(format!("chat.messages[{i}]")))
            })
            .collect::<Result<_, _>>()
            .map(|messages| Input::Chat(Conversation::new(messages))),
    }
}

impl TryFrom<pb::SamplingParams> for SamplingParams {
    type Error = FieldViolation;

    fn try_from(message: pb::SamplingParams) -> Result<Self, Self::Error> {
        let default = Self::default();
        let sampling = Self {
            temperature: message.temperature.unwrap_or(default.temperature),
            top_p: message.top_p.unwrap_or(default.top_p),
            top_k: message.top_k,
            min_p: message.min_p,
            repetition_penalty: message.repetition_penalty.unwrap_or(default.repetition_penalty),
            frequency_penalty: message.frequency_penalty,
            presence_penalty: message.presence_penalty,
            max_tokens: message.max_tokens,
            min_tokens: message.min_tokens,
            stop: message.stop,
            stop_token_ids: message.stop_token_ids,
            ignore_eos: message.ignore_eos,
            seed: message.seed,
            logprobs: message.logprobs,
            prompt_logprobs: false,
            length_control: message.length_control.map(Into::into),
            logit_bias: message.logit_bias.into_iter().collect(),
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

/// Not validated yet: that is done with the other parameters.
impl From<pb::LengthControl> for LengthControl {
    fn from(message: pb::LengthControl) -> Self {
        Self { target_tokens: message.target_tokens, strength: message.strength.unwrap_or(Self::DEFAULT_STRENGTH) }
    }
}
