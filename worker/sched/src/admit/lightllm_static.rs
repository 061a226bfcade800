//! The future peak with a guess for each length that looks at nothing but the request: `min(max_tokens,
//! max(1.1 * generated, 1024))` (LightLLM before it learned from the past). The peak stays below the budget.

use super::future::FuturePeak;
use super::rule::{AdmissionControl, AdmissionRule};
use crate::config::SchedulerConfig;
use crate::signature::Argument;
use crate::view::Outlook;

const GROWTH: f64 = 1.1;
const LEAST_LENGTH: f64 = 1024.0;

pub(super) static RULE: AdmissionRule =
    AdmissionRule::new("lightllm-static", Argument::None, |_, config| Box::new(GuessedPeak::new(config)));

#[derive(Debug)]
struct GuessedPeak {
    num_blocks: u32,
    future: FuturePeak,
}

impl GuessedPeak {
    fn new(config: SchedulerConfig) -> Self {
        Self { num_blocks: config.num_blocks, future: FuturePeak::new(config) }
    }
}

impl AdmissionControl for GuessedPeak {
    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        self.future.reset(running, tables, remaining);
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        self.future.peak_with(candidate, remaining(candidate)) < u64::from(self.num_blocks)
    }

    fn add(&mut self, admitted: &Outlook) {
        self.future.add(admitted, remaining(admitted));
    }
}

fn remaining(outlook: &Outlook) -> u32 {
    let view = outlook.view;
    // The cast saturates.
    let length = (GROWTH * f64::from(view.generated)).max(LEAST_LENGTH) as u32;
    length.min(view.request.max_tokens).saturating_sub(view.generated).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Request, RequestView, tests::view};

    fn after(generated: u32, max_tokens: u32) -> Outlook {
        let request = Request { max_tokens, ..view(1).request };
        Outlook::new(RequestView { request, generated, ..view(1) }, None)
    }

    #[test]
    fn the_guess_is_1024_tokens_at_first_and_a_tenth_more_than_generated_later() {
        assert_eq!(remaining(&after(0, 4096)), 1024);
        assert_eq!(remaining(&after(1000, 4096)), 100);
        assert_eq!(remaining(&after(2000, 4096)), 200);
        assert_eq!(remaining(&after(4090, 4096)), 6);
        assert_eq!(remaining(&after(0, 300)), 300);
    }

    #[test]
    fn the_peak_must_stay_below_the_budget() {
        // 10 + 299 tokens in the last step.
        for (num_blocks, fits) in [(310, true), (309, false)] {
            let config = SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 };
            let mut peak = GuessedPeak::new(config);
            peak.reset(&[], &[]);
            assert_eq!(peak.fits(&after(0, 300)), fits);
        }
    }
}
