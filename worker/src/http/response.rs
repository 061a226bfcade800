//! The shapes of answers, whole and in chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use eoscast_proto::domain::{Complete, END_WITHIN, LengthEstimate, QUANTILE_LEVELS, TokenLogprob};
use serde::Serialize;

use super::logprobs::Logprobs;
use crate::engine::RequestPreparer;

/// Which of the two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Completions,
    Chat,
}

/// Some of one choice: what a step added, or all of it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Which choice.
    pub(super) index: usize,
    pub(super) text: String,
    /// Characters of the choice before this piece.
    pub(super) offset: usize,
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
    /// Without the endpoint's prefix.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    pub(super) model: String,
    /// The first estimate was asked for.
    pub(super) forecast: bool,
    /// Spells the tokens.
    pub(super) preparer: Arc<RequestPreparer>,
}

/// An answer or one chunk of it.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice>,
    /// Of a chunk: absent unless asked for, and then null in all but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    #[serde(flatten)]
    content: Content,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_forecast: Option<ForecastField>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Text(String),
    Message {
        role: &'static str,
        content: String,
    },
    Delta {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ForecastField {
    /// How much was left when the chunk was made.
    Estimate(Estimate),
    /// What was expected on arrival, beside the true length; null if there was no predictor.
    FirstEstimate(Option<Estimate>),
}

/// A distribution over the tokens still to come after `step` tokens.
#[derive(Debug, Serialize)]
struct Estimate {
    step: u32,
    mean: f32,
    /// Tokens at each probability level.
    quantiles: BTreeMap<String, f32>,
    /// Probability of a natural end within so many tokens.
    end_within: BTreeMap<u32, f32>,
}

/// Tokens of all choices together; each prompt counts once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    pub(super) fn new(prompt_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens: 0, total_tokens: prompt_tokens }
    }

    /// A choice ended.
    pub(super) fn add(&mut self, complete: &Complete) {
        self.completion_tokens += complete.completion_tokens as usize;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}

impl Piece {
    /// Whether a client would see nothing new in it.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.is_empty() && self.estimate.is_none() && self.complete.is_none()
    }

    /// Adds the next piece of the same choice.
    pub(super) fn append(&mut self, next: Self) {
        self.text.push_str(&next.text);
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

    /// The chunk that opens choice `index`, where the endpoint has one.
    pub(super) fn opening(&self, index: usize, usage: Option<Option<Usage>>) -> Option<Body<'_>> {
        let opens = self.endpoint == Endpoint::Chat;
        let content = |text| Content::Delta { role: Some("assistant"), content: Some(text) };
        let choice = || self.choice(Piece { index, ..Piece::default() }, content);
        opens.then(|| self.body(self.chunk_object(), vec![choice()], usage))
    }

    /// The chunk that tells the usage.
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
        let prefix = match self.endpoint {
            Endpoint::Completions => "cmpl",
            Endpoint::Chat => "chatcmpl",
        };
        let id = format!("{prefix}-{}", self.id);
        Body { id, object, created: self.created, model: &self.model, choices, usage }
    }

    fn choice(&self, piece: Piece, content: impl Fn(String) -> Content) -> Choice {
        let tokenizer = self.preparer.tokenizer();
        let logprobs = (!piece.logprobs.is_empty()).then(|| match self.endpoint {
            Endpoint::Completions => Logprobs::columns(&piece.logprobs, piece.offset, tokenizer),
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
