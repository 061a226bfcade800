//! [`Observed`]: what is known of one step, live or from a log.

use std::borrow::Cow;

use eoscast_log::record::Signals;
use eoscast_proto::domain::StepEvent;

/// What is known of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed<'a> {
    /// Tokens generated, this one included.
    pub step: u32,
    /// The sampled token.
    pub token_id: Option<u32>,
    /// The measures of its distribution.
    pub signals: Signals,
    /// Projection of the hidden state; empty where it is not told, then the last one counts.
    pub sketch: Cow<'a, [f32]>,
}

impl<'a> From<&'a StepEvent> for Observed<'a> {
    fn from(event: &'a StepEvent) -> Self {
        Self {
            step: event.step,
            token_id: Some(event.token_id),
            signals: event.signals.into(),
            sketch: Cow::Borrowed(&event.sketch),
        }
    }
}
