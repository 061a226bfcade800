//! What a client gets back.

use std::time::Duration;

use super::{FinishReason, LengthEstimate, RequestId};

/// One message of a reply: any number of chunks, then one complete.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyEvent {
    /// More of the reply.
    Chunk(Chunk),
    /// The end of it.
    Complete(Complete),
}

/// What one step added to a reply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chunk {
    /// Whole characters; empty while a character or a possible stop text is incomplete.
    pub text: String,
    /// Tokens generated.
    pub token_ids: Vec<u32>,
    /// On request, and in the first chunk only: one per token of the prompt.
    pub prompt_logprobs: Vec<PromptLogprob>,
    /// On request, one per token.
    pub logprobs: Vec<TokenLogprob>,
    /// On request, one per token.
    pub eos_logprobs: Vec<f32>,
    /// On request, and once there is one.
    pub estimate: Option<LengthEstimate>,
}

/// A token's log-probability beside those of the likeliest tokens, from the raw logits.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The sampled token.
    pub token: RankedToken,
    /// The likeliest, in falling order.
    pub top: Vec<RankedToken>,
    /// Whole characters of the reply before the token; never more than the reply has in the end.
    pub text_offset: u32,
}

/// A token of the prompt beside those that were likely in its place, from the raw logits.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptLogprob {
    /// Id in the vocabulary.
    pub id: u32,
    /// Natural logarithm of its probability; none of the first token, which follows nothing.
    pub logprob: Option<f32>,
    /// Ids and log-probabilities of the likeliest tokens, in falling order.
    pub top: Vec<(u32, f32)>,
    /// Whole characters of the prompt before the token.
    pub text_offset: u32,
}

/// One token with its natural log-probability.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedToken {
    /// Id in the vocabulary.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its text, lossy where it is not whole characters.
    pub text: String,
}

impl RankedToken {
    /// A token of these bytes.
    pub fn new(id: u32, logprob: f32, bytes: &[u8]) -> Self {
        Self { id, logprob, text: String::from_utf8_lossy(bytes).into_owned() }
    }
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Complete {
    /// Whose.
    pub request_id: RequestId,
    /// Why.
    pub finish_reason: FinishReason,
    /// What matched, if a stop text or stop token did.
    pub matched_stop: Option<MatchedStop>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that the prefix cache had.
    pub cached_prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Times the request lost its KV blocks.
    pub preemptions: u32,
    /// From submission to the first scheduling.
    pub queue: Duration,
    /// From submission to the first token; zero if there was none.
    pub first_token: Duration,
    /// From submission to the end.
    pub total: Duration,
    /// The estimate made on arrival.
    pub first_estimate: Option<LengthEstimate>,
    /// Of the sampler.
    pub seed: u64,
}

/// What ended a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchedStop {
    /// A stop text.
    Text(String),
    /// An EOS or stop token.
    Token(u32),
}
