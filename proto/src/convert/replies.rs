//! Worker to client: replies.

use std::time::Duration;

use crate::domain::{Chunk, Complete, MatchedStop, RankedToken, ReplyEvent, RequestId, TokenLogprob};
use crate::predictor::v1::FinishReason;
use crate::worker::v1 as pb;

impl pb::GenerateResponse {
    /// The wire form of one event of `request_id`'s reply.
    pub fn new(request_id: &RequestId, event: ReplyEvent) -> Self {
        use pb::generate_response::Event;
        let event = match event {
            ReplyEvent::Chunk(chunk) => Event::Chunk(chunk.into()),
            ReplyEvent::Complete(complete) => Event::Complete(complete.into()),
        };
        Self { request_id: request_id.to_string(), event: Some(event) }
    }
}

impl From<Chunk> for pb::Chunk {
    fn from(chunk: Chunk) -> Self {
        Self {
            text: chunk.text,
            token_ids: chunk.token_ids,
            logprobs: chunk.logprobs.into_iter().map(Into::into).collect(),
            eos_logprobs: chunk.eos_logprobs,
            estimate: chunk.estimate.map(Into::into),
        }
    }
}

impl From<TokenLogprob> for pb::TokenLogprob {
    fn from(TokenLogprob { token, top, .. }: TokenLogprob) -> Self {
        Self {
            token_id: token.id,
            logprob: token.logprob,
            token: token.text,
            top: top.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RankedToken> for pb::TopLogprob {
    fn from(token: RankedToken) -> Self {
        Self { token_id: token.id, logprob: token.logprob, token: token.text }
    }
}

impl From<Complete> for pb::Complete {
    fn from(complete: Complete) -> Self {
        Self {
            finish_reason: FinishReason::from(complete.finish_reason).into(),
            matched_stop: complete.matched_stop.map(Into::into),
            usage: Some(pb::Usage {
                prompt_tokens: complete.prompt_tokens,
                completion_tokens: complete.completion_tokens,
                preemptions: complete.preemptions,
                cached_prompt_tokens: complete.cached_prompt_tokens,
            }),
            timings: Some(pb::Timings {
                queue: duration(complete.queue),
                first_token: duration(complete.first_token),
                total: duration(complete.total),
            }),
            first_estimate: complete.first_estimate.map(Into::into),
            seed: complete.seed,
        }
    }
}

impl From<MatchedStop> for pb::complete::MatchedStop {
    fn from(matched: MatchedStop) -> Self {
        match matched {
            MatchedStop::Text(text) => Self::StopText(text),
            MatchedStop::Token(id) => Self::StopTokenId(id),
        }
    }
}

/// Nothing where the duration exceeds what the wire can say (292 billion years).
fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}
