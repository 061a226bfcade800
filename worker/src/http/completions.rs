//! `POST /v1/completions`: continues a text as it is.

use eoscast_proto::domain::Input;
use eoscast_proto::status::FieldViolation;
use serde::Deserialize;

use super::endpoint_fields::{EndpointFields, MAX_TOKENS};
use super::fields::Fields;

/// OpenAI's default for this endpoint.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// One prompt or several, as text or as tokens.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text, a list of texts, a list of token ids or a list of such lists")]
enum Prompt {
    Text(String),
    TokenIds(Vec<u32>),
    Texts(Vec<String>),
    TokenIdLists(Vec<Vec<u32>>),
}

impl Prompt {
    fn into_inputs(self) -> Vec<Input> {
        match self {
            Self::Text(text) => vec![Input::Text(text)],
            Self::TokenIds(ids) => vec![Input::TokenIds(ids)],
            Self::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
            Self::TokenIdLists(lists) => lists.into_iter().map(Input::TokenIds).collect(),
        }
    }
}

/// What this endpoint alone reads.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn read(fields: &mut Fields) -> Result<EndpointFields, FieldViolation> {
    for name in ["echo", "suffix", "prompt_embeds"] {
        fields.refuse(name)?;
    }
    let prompt: Prompt = fields.take("prompt")?.ok_or_else(|| FieldViolation::new("prompt", "is missing"))?;
    Ok(EndpointFields {
        inputs: prompt.into_inputs(),
        max_tokens: fields.take(MAX_TOKENS)?,
        max_tokens_name: MAX_TOKENS,
        default_max_tokens: Some(DEFAULT_MAX_TOKENS),
        logprobs: fields.take("logprobs")?,
    })
}
