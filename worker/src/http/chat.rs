//! `POST /v1/chat/completions`: the next turn of a conversation.

use eoscast_proto::domain::{ChatMessage, Input, limits};
use eoscast_proto::status::FieldViolation;
use serde::Deserialize;

use super::endpoint_fields::{EndpointFields, MAX_TOKENS};
use super::fields::Fields;

/// A turn as OpenAI's API writes it.
#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text or a list of parts of type text")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

impl Message {
    fn into_chat_message(self) -> Result<ChatMessage, FieldViolation> {
        // OpenAI's newer name for the system role.
        let role = if self.role == "developer" { "system".to_owned() } else { self.role };
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect::<Vec<_>>().join("\n"),
        };
        ChatMessage::new(role, content)
    }
}

/// What this endpoint alone reads.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn read(fields: &mut Fields) -> Result<EndpointFields, FieldViolation> {
    for name in ["tools", "functions", "audio", "continue_final_message", "chat_template", "chat_template_kwargs"] {
        fields.refuse(name)?;
    }
    // The newer name goes first, as at OpenAI.
    let newer = fields.take("max_completion_tokens")?;
    let older = fields.take(MAX_TOKENS)?;
    Ok(EndpointFields {
        inputs: vec![messages(fields)?],
        max_tokens: newer.or(older),
        max_tokens_name: if newer.is_some() { "max_completion_tokens" } else { MAX_TOKENS },
        default_max_tokens: None,
        logprobs: logprobs(fields)?,
    })
}

/// The conversation.
///
/// # Errors
/// It is missing or empty, or a turn is not of text or of an unknown role.
pub(super) fn messages(fields: &mut Fields) -> Result<Input, FieldViolation> {
    let messages: Vec<Message> = fields.take("messages")?.unwrap_or_default();
    if messages.is_empty() {
        return Err(FieldViolation::new("messages", "must be a list of at least one message"));
    }
    let turn = |(i, message): (usize, Message)| {
        message.into_chat_message().map_err(|violation| violation.scope(format!("messages[{i}]")))
    };
    messages.into_iter().enumerate().map(turn).collect::<Result<_, _>>().map(Input::Chat)
}

/// Likely tokens to report beside each token, if log-probabilities are asked for at all.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, FieldViolation> {
    let wanted = fields.take("logprobs")?.unwrap_or(false);
    let top: Option<u32> = fields.take("top_logprobs")?;
    match top {
        Some(n) if n > limits::LOGPROBS => {
            Err(FieldViolation::new("top_logprobs", format!("must be at most {}, got {n}", limits::LOGPROBS)))
        }
        Some(1..) if !wanted => Err(FieldViolation::new("top_logprobs", "needs logprobs to be true")),
        top => Ok(wanted.then(|| top.unwrap_or(0))),
    }
}
