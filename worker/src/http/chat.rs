//! `POST /v1/chat/completions`: the next turn of a conversation.

use eoscast_proto::domain::{Conversation, Input, limits};
use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint_fields::{EndpointFields, MAX_TOKENS};
use super::whole::Whole;

/// What this endpoint alone reads, beside the conversation.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ChatFields {
    /// New tokens of each reply; default: as many as the context holds.
    max_completion_tokens: Option<Whole<u32>>,
    /// The older name of max_completion_tokens, which goes first.
    max_tokens: Option<Whole<u32>>,
    /// Report the log-probability of each token.
    logprobs: Option<bool>,
    /// Report this many of the most likely tokens as well; at most 20, needs logprobs.
    top_logprobs: Option<Whole<u32>>,
    /// Must be false: the template adds the special tokens.
    add_special_tokens: Option<bool>,
}

impl ChatFields {
    /// # Errors
    /// The first field that is out of range or contradicts another.
    pub(super) fn into_own(self, conversation: Conversation) -> Result<EndpointFields, FieldViolation> {
        if self.add_special_tokens == Some(true) {
            let description = "must be false: the chat template adds the special tokens";
            return Err(FieldViolation::new("add_special_tokens", description));
        }
        Ok(EndpointFields {
            inputs: vec![Input::Chat(conversation)],
            logprobs: self.logprobs()?,
            max_tokens: self.max_completion_tokens.or(self.max_tokens).map(|Whole(tokens)| tokens),
            max_tokens_name: if self.max_completion_tokens.is_some() { "max_completion_tokens" } else { MAX_TOKENS },
            default_max_tokens: None,
            echo: false,
            prompt_only: false,
            bare: false,
        })
    }

    /// Likely tokens to report beside each token, if log-probabilities are asked for at all.
    fn logprobs(&self) -> Result<Option<u32>, FieldViolation> {
        let wanted = self.logprobs.unwrap_or(false);
        match self.top_logprobs.map(|Whole(top)| top) {
            Some(n) if n > limits::LOGPROBS => {
                Err(FieldViolation::new("top_logprobs", format!("must be at most {}, got {n}", limits::LOGPROBS)))
            }
            Some(1..) if !wanted => Err(FieldViolation::new("top_logprobs", "needs logprobs to be true")),
            top => Ok(wanted.then(|| top.unwrap_or(0))),
        }
    }
}
