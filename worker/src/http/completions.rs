//! `POST /v1/completions`: continues a text as it is.

use eoscast_proto::domain::Input;
use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint_fields::{EndpointFields, MAX_TOKENS};
use super::whole::Whole;

/// OpenAI's default for this endpoint.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// What this endpoint alone reads.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CompletionFields {
    /// What to continue: a text, a list of texts, a list of token ids or a list of such lists.
    #[schemars(required)]
    prompt: Option<Prompt>,
    /// New tokens of each reply; default 16; at least 1, or with echo 0 for the prompt alone.
    max_tokens: Option<Whole<u32>>,
    /// Report the log-probability of each token and of this many of the most likely ones; at most 20. With echo also those of
    /// the prompt.
    logprobs: Option<Whole<u32>>,
    /// Replies start with their prompts.
    echo: Option<bool>,
    /// Whether a text gets the tokens that the model wants before a prompt; default true.
    add_special_tokens: Option<bool>,
}

/// One prompt or several, as text or as tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text, a list of texts, a list of token ids or a list of such lists")]
#[schemars(inline)]
enum Prompt {
    Text(String),
    TokenIds(Vec<Whole<u32>>),
    Texts(Vec<String>),
    TokenIdLists(Vec<Vec<Whole<u32>>>),
}

impl Prompt {
    fn into_inputs(self) -> Vec<Input> {
        let ids = |ids: Vec<Whole<u32>>| Input::TokenIds(ids.into_iter().map(|Whole(id)| id).collect());
        match self {
            Self::Text(text) => vec![Input::Text(text)],
            Self::TokenIds(list) => vec![ids(list)],
            Self::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
            Self::TokenIdLists(lists) => lists.into_iter().map(ids).collect(),
        }
    }
}

impl CompletionFields {
    /// # Errors
    /// The first field that is missing or contradicts another.
    pub(super) fn into_own(self) -> Result<EndpointFields, FieldViolation> {
        let prompt = self.prompt.ok_or_else(|| FieldViolation::new("prompt", "is missing"))?;
        let (echo, max_tokens) = (self.echo.unwrap_or(false), self.max_tokens.map(|Whole(tokens)| tokens));
        let prompt_only = echo && max_tokens == Some(0);
        Ok(EndpointFields {
            inputs: prompt.into_inputs(),
            // The engine draws a token after every prompt; this one is not shown.
            max_tokens: if prompt_only { Some(1) } else { max_tokens },
            max_tokens_name: MAX_TOKENS,
            default_max_tokens: Some(DEFAULT_MAX_TOKENS),
            logprobs: self.logprobs.map(|Whole(top)| top),
            echo,
            prompt_only,
            bare: self.add_special_tokens == Some(false),
        })
    }
}
