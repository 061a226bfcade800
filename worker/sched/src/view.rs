//! What a rule sees: plain data about one request, and what is forecast of it.

use std::fmt;

use crate::remaining::RemainingLength;

/// The caller's ordinal of a request, unique among live requests; ties in rank go to the smaller one.
pub type RequestKey = u64;

/// A request as it is added; it does not change afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// The caller's ordinal.
    pub key: RequestKey,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Most tokens that may be generated, at least 1.
    pub max_tokens: u32,
    /// The lower, the more urgent.
    pub priority: i32,
    /// Time of arrival, seconds on the caller's clock.
    pub arrival: f64,
    /// Time by which it must end, seconds on the caller's clock. Rules may weigh it; ending an expired request is the
    /// caller's [`abort`](crate::Scheduler::abort).
    pub deadline: Option<f64>,
}

impl Request {
    /// Whether it can end, with `kv_tokens` to itself.
    pub(crate) fn check(&self, kv_tokens: u64) -> Result<(), AddError> {
        let tokens = u64::from(self.prompt_tokens) + u64::from(self.max_tokens);
        if self.prompt_tokens == 0 {
            return Err(AddError::EmptyPrompt);
        } else if self.max_tokens == 0 {
            return Err(AddError::NoTokensToGenerate);
        } else if tokens > kv_tokens {
            return Err(AddError::NeverFits { tokens, kv_tokens });
        }
        Ok(())
    }
}

/// A request the scheduler cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The key is that of a live request.
    DuplicateKey(RequestKey),
    /// The prompt has no tokens.
    EmptyPrompt,
    /// `max_tokens` is 0.
    NoTokensToGenerate,
    /// Even alone it could run out of KV blocks.
    NeverFits {
        /// Prompt tokens and `max_tokens`.
        tokens: u64,
        /// The KV budget, tokens.
        kv_tokens: u64,
    },
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateKey(key) => write!(f, "request key {key} is in use: give each live request its own"),
            Self::EmptyPrompt => f.write_str("the prompt has no tokens: give at least one"),
            Self::NoTokensToGenerate => f.write_str("max_tokens is 0: set it to at least 1"),
            Self::NeverFits { tokens, kv_tokens } => write!(
                f,
                "prompt and max_tokens are {tokens} tokens and the kv budget holds {kv_tokens}: \
                 shorten the prompt, lower max_tokens or raise the budget"
            ),
        }
    }
}

impl std::error::Error for AddError {}

/// A live request at the start of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestView {
    /// The request as it was added.
    pub request: Request,
    /// Tokens generated so far; preemption keeps them.
    pub generated: u32,
    /// Tokens whose KV entries are present.
    pub computed: u32,
    /// How often it was preempted.
    pub preemptions: u32,
    /// When it first joined the running batch, seconds; queue time is this minus the arrival.
    pub first_admitted: Option<f64>,
    /// When it last joined the queue, seconds: its arrival, or when it was preempted.
    pub queued_at: f64,
    /// Seconds in the running batch until it was last preempted.
    pub served: f64,
}

impl RequestView {
    /// The request as it joins the queue for the first time.
    pub fn new(request: Request) -> Self {
        Self {
            request,
            generated: 0,
            computed: 0,
            preemptions: 0,
            first_admitted: None,
            queued_at: request.arrival,
            served: 0.0,
        }
    }

    /// A request of 10 prompt tokens and at most 100 more, for tests.
    #[doc(hidden)]
    pub fn for_test(key: RequestKey) -> Self {
        let arrival = key as f64;
        Self::new(Request { key, prompt_tokens: 10, max_tokens: 100, priority: 0, arrival, deadline: None })
    }

    /// Tokens known: prompt and generated.
    pub fn known(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }

    /// Known tokens that must still be computed before the next one can be sampled: 1 for a decode.
    pub fn pending(&self) -> u32 {
        self.known() - self.computed
    }

    /// Most tokens it may still generate.
    pub fn max_remaining(&self) -> u32 {
        self.request.max_tokens - self.generated
    }

    /// Whether its next step is a decode: everything is computed but the token sampled last.
    pub fn decodes(&self) -> bool {
        self.generated > 0 && self.pending() == 1
    }
}

/// A request with the forecast of its remaining length. Every answer lies between one token and what `max_tokens`
/// leaves, whatever the forecast says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// The request.
    pub view: RequestView,
    forecast: RemainingLength,
}

impl Outlook {
    /// Without a forecast the worst case stands in: the request runs to `max_tokens`. The scheduler comes to that only
    /// while too few requests have ended to tell from them.
    pub fn new(view: RequestView, forecast: Option<RemainingLength>) -> Self {
        let forecast = forecast.unwrap_or_else(|| RemainingLength::certain(view.max_remaining()));
        Self { view, forecast }
    }

    /// Expected remaining length, tokens.
    pub fn mean_remaining(&self) -> f32 {
        self.within_limits(self.forecast.mean)
    }

    /// Remaining length that is not exceeded with probability `level`, whole tokens.
    pub fn remaining_at(&self, level: f32) -> u32 {
        // The cast saturates and the value is at least 1.
        (self.within_limits(self.forecast.quantile(level)).ceil() as u32).min(self.view.max_remaining())
    }

    /// Quantiles of the remaining length at [`LEVELS`](crate::LEVELS), tokens, not decreasing.
    pub fn quantiles(&self) -> [f32; 13] {
        let mut least = 1.0;
        self.forecast.quantiles.map(|quantile| {
            least = self.within_limits(quantile).max(least);
            least
        })
    }

    /// Probabilities that it still runs after 0, 1, 2, ... further tokens, as far as `max_tokens` goes.
    pub(crate) fn survival_by_token(&self) -> impl Iterator<Item = f64> {
        self.limited().survival_by_token().take(self.view.max_remaining() as usize)
    }

    /// Variance of the remaining length, tokens squared.
    pub(crate) fn variance(&self) -> f64 {
        self.limited().variance()
    }

    fn limited(&self) -> RemainingLength {
        RemainingLength { mean: self.mean_remaining(), quantiles: self.quantiles() }
    }

    fn within_limits(&self, tokens: f32) -> f32 {
        let most = self.view.max_remaining() as f32;
        if tokens.is_nan() { most } else { tokens.min(most).max(1.0) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn view(key: RequestKey) -> RequestView {
        RequestView::for_test(key)
    }

    #[test]
    fn a_missing_forecast_is_the_worst_case() {
        let outlook = Outlook::new(RequestView { generated: 30, ..view(1) }, None);
        assert_eq!(outlook.mean_remaining(), 70.0);
        assert_eq!(outlook.remaining_at(0.01), 70);
    }

    #[test]
    fn a_wrong_forecast_stays_between_one_token_and_max_tokens() {
        for (tokens, expected) in [(-5.0, 1), (0.0, 1), (41.2, 42), (1e9, 100), (f32::INFINITY, 100), (f32::NAN, 100)] {
            let outlook = Outlook::new(view(1), Some(RemainingLength { mean: tokens, quantiles: [tokens; 13] }));
            assert_eq!(outlook.remaining_at(0.5), expected, "{tokens}");
            assert!((1.0..=100.0).contains(&outlook.mean_remaining()), "{tokens}");
            assert!(outlook.quantiles().iter().all(|quantile| (1.0..=100.0).contains(quantile)), "{tokens}");
        }
    }

    #[test]
    fn a_first_token_comes_from_prefill_and_the_next_from_a_decode() {
        assert!(!view(1).decodes());
        assert!(!RequestView { computed: 9, ..view(1) }.decodes());
        assert!(RequestView { computed: 10, generated: 1, ..view(1) }.decodes());
    }
}
