//! What is known of a request that ended.

use std::time::Duration;

use eoscast_proto::domain::FinishReason;

/// A request that ended. Times count from its submission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinishedRequest {
    /// Why.
    pub(crate) reason: FinishReason,
    pub(crate) prompt_tokens: u32,
    pub(crate) generated_tokens: u32,
    /// Until its first admission, if it was admitted.
    pub(crate) admitted: Option<Duration>,
    /// Until the first token, if there was one.
    pub(crate) first_token: Option<Duration>,
    /// Until the last token.
    pub(crate) last_token: Option<Duration>,
    /// Until its end.
    pub(crate) total: Duration,
}

impl FinishedRequest {
    /// Time in the queue; all of it, if the request ended there.
    pub(crate) fn queue_time(&self) -> Duration {
        self.admitted.unwrap_or(self.total)
    }

    /// From admission to first token.
    pub(crate) fn prefill_time(&self) -> Option<Duration> {
        Some(self.first_token?.saturating_sub(self.admitted?))
    }

    /// From first to last token.
    pub(crate) fn decode_time(&self) -> Option<Duration> {
        Some(self.last_token?.saturating_sub(self.first_token?))
    }

    /// From admission to last token.
    pub(crate) fn inference_time(&self) -> Option<Duration> {
        Some(self.last_token?.saturating_sub(self.admitted?))
    }

    /// Mean time from one token to the next.
    pub(crate) fn time_per_output_token(&self) -> Option<Duration> {
        self.decode_time()?.checked_div(self.generated_tokens.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_times_of_a_request_follow_each_other() {
        let request = FinishedRequest {
            reason: FinishReason::Stop,
            prompt_tokens: 5,
            generated_tokens: 11,
            admitted: Some(10 * MILLI),
            first_token: Some(30 * MILLI),
            last_token: Some(130 * MILLI),
            total: 131 * MILLI,
        };
        assert_eq!(request.queue_time(), 10 * MILLI);
        assert_eq!(request.prefill_time(), Some(20 * MILLI));
        assert_eq!(request.decode_time(), Some(100 * MILLI));
        assert_eq!(request.inference_time(), Some(120 * MILLI));
        assert_eq!(request.time_per_output_token(), Some(10 * MILLI));
        let one_token = FinishedRequest { generated_tokens: 1, last_token: request.first_token, ..request };
        assert_eq!((one_token.decode_time(), one_token.time_per_output_token()), (Some(Duration::ZERO), None));
        let never_admitted = FinishedRequest { admitted: None, first_token: None, last_token: None, ..request };
        assert_eq!((never_admitted.queue_time(), never_admitted.prefill_time()), (131 * MILLI, None));
    }
}
