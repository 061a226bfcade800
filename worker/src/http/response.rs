//! The shapes of answers, whole and in chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use eoscast_proto::domain::{Complete, END_WITHIN, LengthEstimate, PromptLogprob, QUANTILE_LEVELS, TokenLogprob};
use schemars::JsonSchema;
use serde::Serialize;

use super::logprobs::Logprobs;
use crate::engine::RequestPreparer;

/// Which of the two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Completions,
    Chat,
}

impl Endpoint {
    /// How the ids of its answers begin.
    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Completions => "cmpl",
            Self::Chat => "chatcmpl",
        }
    }
}

/// Some of one choice: what a step added, or all of it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Which choice.
    pub(super) index: usize,
    pub(super) text: String,
    /// Tokens generated.
    pub(super) tokens: usize,
    /// Characters of the prompt that the choice begins with.
    pub(super) echoed: u32,
    /// On request, with the choice's first token.
    pub(super) prompt_logprobs: Vec<PromptLogprob>,
    /// On request.
    pub(super) logprobs: Vec<TokenLogprob>,
    /// On request, once there is one; not kept in a whole choice.
    pub(super) estimate: Option<LengthEstimate>,
    /// At the end of the choice.
    pub(super) complete: Option<Complete>,
}

/// What all parts of one answer have in common.
pub(super) struct Envelope {
    pub(super) endpoint: Endpoint,
    /// The engine's, so that logs can be searched for it.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) fingerprint: Arc<str>,
    /// The first estimate was asked for.
    pub(super) forecast: bool,
    /// Spells the tokens.
    pub(super) preparer: Arc<RequestPreparer>,
}

/// An answer or one chunk of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Completion")]
pub(super) struct Body<'a> {
    id: &'a str,
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    model: &'a str,
    /// Hash of the worker's version and the model's name and shape; the weights are not read.
    system_fingerprint: &'a str,
    choices: Vec<Choice>,
    /// Of a chunk: absent unless asked for, and then null in all but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Choice {
    index: usize,
    #[serde(flatten)]
    content: Content,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_forecast: Option<ForecastField>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Content {
    /// Of completions.
    Text(String),
    /// Of chat completions.
    Message { role: &'static str, content: String },
    /// Of a chunk of a chat completion.
    Delta {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum ForecastField {
    /// How much was left when the chunk was made.
    Estimate(Estimate),
    /// What was expected on arrival, beside the true length; null if there was no predictor.
    FirstEstimate(Option<Estimate>),
}

/// A distribution over the tokens still to come after `step` tokens.
#[derive(Debug, Serialize, JsonSchema)]
struct Estimate {
    step: u32,
    mean: f32,
    /// Tokens at each probability level.
    quantiles: BTreeMap<String, f32>,
    /// Probability of a natural end within so many tokens.
    end_within: BTreeMap<u32, f32>,
}

/// Tokens of all choices together; each prompt counts once.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
    /// Choices that share a prompt.
    #[serde(skip)]
    choices_per_prompt: usize,
}

#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
#[schemars(inline)]
struct PromptTokensDetails {
    /// Tokens that the prefix cache had when the first choice of their prompt began; known when that choice ends.
    cached_tokens: usize,
}

impl Usage {
    pub(super) fn new(prompt_tokens: usize, choices_per_prompt: usize) -> Self {
        Self { prompt_tokens, total_tokens: prompt_tokens, choices_per_prompt, ..Self::default() }
    }

    /// Counts what `piece` brings.
    pub(super) fn add(&mut self, piece: &Piece) {
        self.completion_tokens += piece.tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
        let is_first = piece.index.is_multiple_of(self.choices_per_prompt.max(1));
        if let Some(complete) = piece.complete.as_ref().filter(|_| is_first) {
            self.prompt_tokens_details.cached_tokens += complete.cached_prompt_tokens as usize;
        }
    }
}

impl Piece {
    /// Whether a client would see nothing new in it.
    pub(super) fn is_empty(&self) -> bool {
        let adds_logprobs = !(self.prompt_logprobs.is_empty() && self.logprobs.is_empty());
        self.text.is_empty() && !adds_logprobs && self.estimate.is_none() && self.complete.is_none()
    }

    /// Adds the next piece of the same choice.
    pub(super) fn append(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.prompt_logprobs.extend(next.prompt_logprobs);
        self.logprobs.extend(next.logprobs);
        self.complete = next.complete;
    }
}

impl Envelope {
    /// The whole answer.
    pub(super) fn whole(&self, pieces: Vec<Piece>, usage: Usage) -> Body<'_> {
        let object = match self.endpoint {
            Endpoint::Completions => "text_completion",
            Endpoint::Chat => "chat.completion",
        };
        let content = |text| match self.endpoint {
            Endpoint::Completions => Content::Text(text),
            Endpoint::Chat => Content::Message { role: "assistant", content: text },
        };
        let choices = pieces.into_iter().map(|piece| self.choice(piece, content)).collect();
        self.body(object, choices, Some(Some(usage)))
    }

    /// One chunk with what `piece` adds.
    pub(super) fn chunk(&self, piece: Piece, usage: Option<Option<Usage>>) -> Body<'_> {
        let content = |text: String| match self.endpoint {
            Endpoint::Completions => Content::Text(text),
            Endpoint::Chat => Content::Delta { role: None, content: (!text.is_empty()).then_some(text) },
        };
        self.body(self.chunk_object(), vec![self.choice(piece, content)], usage)
    }

    /// The chunk that opens a choice, where the endpoint has one or the choice begins with a text.
    pub(super) fn opening(&self, opening: Piece, usage: Option<Option<Usage>>) -> Option<Body<'_>> {
        let content = |text| Content::Delta { role: Some("assistant"), content: Some(text) };
        match self.endpoint {
            Endpoint::Completions => (!opening.is_empty()).then(|| self.chunk(opening, usage)),
            Endpoint::Chat => Some(self.body(self.chunk_object(), vec![self.choice(opening, content)], usage)),
        }
    }

    /// The chunk that carries the usage.
    pub(super) fn usage(&self, usage: Usage) -> Body<'_> {
        self.body(self.chunk_object(), Vec::new(), Some(Some(usage)))
    }

    fn chunk_object(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Completions => "text_completion",
            Endpoint::Chat => "chat.completion.chunk",
        }
    }

    fn body(&self, object: &'static str, choices: Vec<Choice>, usage: Option<Option<Usage>>) -> Body<'_> {
        Body {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage,
        }
    }

    fn choice(&self, piece: Piece, content: impl Fn(String) -> Content) -> Choice {
        let tokenizer = self.preparer.tokenizer();
        let adds_logprobs = !(piece.prompt_logprobs.is_empty() && piece.logprobs.is_empty());
        let logprobs = adds_logprobs.then(|| match self.endpoint {
            Endpoint::Completions => {
                Logprobs::columns(&piece.prompt_logprobs, &piece.logprobs, piece.echoed, tokenizer)
            }
            Endpoint::Chat => Logprobs::rows(&piece.logprobs, tokenizer),
        });
        let x_forecast = match (&piece.complete, &piece.estimate) {
            (Some(complete), _) if self.forecast => {
                Some(ForecastField::FirstEstimate(complete.first_estimate.as_ref().map(Estimate::from)))
            }
            (None, Some(estimate)) => Some(ForecastField::Estimate(estimate.into())),
            _ => None,
        };
        Choice {
            index: piece.index,
            content: content(piece.text),
            logprobs,
            finish_reason: piece.complete.map(|complete| complete.finish_reason.as_str()),
            x_forecast,
        }
    }
}

impl From<&LengthEstimate> for Estimate {
    fn from(estimate: &LengthEstimate) -> Self {
        let remaining = &estimate.forecast.remaining;
        Self {
            step: estimate.step,
            mean: remaining.mean,
            quantiles: QUANTILE_LEVELS.iter().map(ToString::to_string).zip(remaining.quantiles).collect(),
            end_within: END_WITHIN.into_iter().zip(remaining.end_within).collect(),
        }
    }
}
