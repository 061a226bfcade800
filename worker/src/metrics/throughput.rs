//! Tokens a second over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Window over which throughput is averaged.
const WINDOW: Duration = Duration::from_secs(5);
/// Spacing of the samples within it.
const SAMPLE: Duration = Duration::from_millis(250);

/// When how many tokens had been generated.
#[derive(Default)]
pub(super) struct Throughput {
    /// Oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Throughput {
    /// So many tokens have been generated since the start.
    pub(super) fn sample(&mut self, now: Instant, tokens: u64) {
        if self.samples.back().is_none_or(|(at, _)| now - *at >= SAMPLE) {
            self.samples.push_back((now, tokens));
            while self.samples.front().is_some_and(|(at, _)| now - *at > WINDOW) {
                self.samples.pop_front();
            }
        }
    }

    /// Tokens a second, if there are `tokens` by now.
    pub(super) fn per_second(&self, now: Instant, tokens: u64) -> f32 {
        let oldest = self.samples.iter().find(|(at, _)| now - *at <= WINDOW);
        oldest.map_or(0.0, |(at, before)| {
            let seconds = (now - *at).as_secs_f32().max(SAMPLE.as_secs_f32());
            tokens.saturating_sub(*before) as f32 / seconds
        })
    }
}
