//! `POST /v1/chat/completions`: the next turn of a conversation.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use eoscast_proto::domain::{ChatMessage, Input, SamplingParams, limits};
use eoscast_proto::status::FieldViolation;
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::fields::Fields;
use super::generate::{self, Job};
use super::response::Endpoint;
use super::sampling::{options, sampling_params};

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

pub(super) async fn handle(
    State(app): State<App>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    app.check_model(&mut fields)?;
    let job = job(&mut fields)?;
    generate::respond(app, &headers, job).await
}

fn job(fields: &mut Fields) -> Result<Job, FieldViolation> {
    for name in ["tools", "functions", "audio", "continue_final_message", "chat_template", "chat_template_kwargs"] {
        fields.refuse(name)?;
    }
    let input = messages(fields)?;
    let sampling = sampling_params(fields)?;
    let sampling = SamplingParams {
        // The newer name goes first, as at OpenAI.
        max_tokens: fields.take("max_completion_tokens")?.or(sampling.max_tokens),
        logprobs: logprobs(fields)?,
        ..sampling
    };
    sampling.validate()?;
    Ok(Job { endpoint: Endpoint::Chat, inputs: vec![input], sampling, options: options(fields)? })
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
