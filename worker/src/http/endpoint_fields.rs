//! What `completions` and `chat` read each in its own way.

use eoscast_proto::domain::Input;

/// The limit's name in the contract, and the usual one here.
pub(super) const MAX_TOKENS: &str = "max_tokens";

/// The fields of a body that only one endpoint has, or that it reads in its own way.
pub(super) struct EndpointFields {
    /// Prompts, at least one.
    pub(super) inputs: Vec<Input>,
    pub(super) max_tokens: Option<u32>,
    /// The field that it was read from.
    pub(super) max_tokens_name: &'static str,
    /// None: as many as the context holds.
    pub(super) default_max_tokens: Option<u32>,
    /// Likely tokens to report beside each token; None: no log-probabilities.
    pub(super) logprobs: Option<u32>,
    /// Replies start with their prompts.
    pub(super) echo: bool,
    /// Nothing follows the prompts.
    pub(super) prompt_only: bool,
    /// Prompts of text get no tokens that are not in the text.
    pub(super) bare: bool,
}
