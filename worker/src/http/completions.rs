//! `POST /v1/completions`: continues a text as it is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use eoscast_proto::domain::{Input, SamplingParams};
use eoscast_proto::status::FieldViolation;
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::fields::Fields;
use super::generate::{self, Job};
use super::response::Endpoint;
use super::sampling::{options, sampling_params};

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
    for name in ["echo", "suffix", "prompt_embeds"] {
        fields.refuse(name)?;
    }
    let prompt: Prompt = fields.take("prompt")?.ok_or_else(|| FieldViolation::new("prompt", "is missing"))?;
    let sampling = sampling_params(fields)?;
    let sampling = SamplingParams {
        max_tokens: sampling.max_tokens.or(Some(DEFAULT_MAX_TOKENS.max(sampling.min_tokens))),
        logprobs: fields.take("logprobs")?,
        ..sampling
    };
    sampling.validate()?;
    let options = options(fields)?;
    if let Some(best_of) = fields.take::<u32>("best_of")?
        && best_of != options.n
    {
        return Err(FieldViolation::new("best_of", format!("must equal n, got {best_of}")));
    }
    Ok(Job { endpoint: Endpoint::Completions, inputs: prompt.into_inputs(), sampling, options })
}
