//! The future peak of KV use, with a quantile of the forecast for each remaining length, stays within the budget.
//!
//! A request that is still in prefill ends later than its remaining length says, by the steps that its prefill takes
//! beyond the first. Prefill is served in running order after one token for each decode, and requests behind one that
//! is in prefill are not decoding yet; so of each step at least `max_batched_tokens - requests ahead` tokens go to the
//! prefill of a request and of those ahead of it. That bounds the delay. It is counted as that many more tokens to
//! generate, which is never too little: with true remaining lengths nobody is preempted.
//!
//! Of the requests that share a block the one that ends last is charged for it, as the block is held until then. A
//! block less in each of its steps is a block's tokens less held: in `ceil((held + j - 1) / B)` both come to the same.

use std::cmp::Reverse;

use super::sharing::charged_before;
use crate::config::SchedulerConfig;
use crate::peak::{Footprint, PeakProfile};
use crate::view::{Outlook, RequestView};

/// Default quantile. What each request exceeds with probability 0.4 is seldom exceeded by the sum: in virtual time
/// (load 0.9, KV budget 4,000 tokens, lognormal lengths, `srpt-pred`) 0.6 had mean and normalised latency within 5 % of
/// the best of 0.3 to 0.9, with sharp forecasts as with weak ones, while 0.9 was up to 1.9 times slower.
pub(super) const LEVEL: f32 = 0.6;

#[derive(Debug)]
pub(crate) struct FuturePeak {
    level: f32,
    config: SchedulerConfig,
    profile: PeakProfile,
    prefill: PrefillQueue,
}

impl FuturePeak {
    pub(super) fn new(level: f32, config: SchedulerConfig) -> Self {
        Self {
            level,
            config,
            profile: PeakProfile::new(config.block_size),
            prefill: PrefillQueue::new(config.max_batched_tokens),
        }
    }

    pub(super) fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        let SchedulerConfig { block_size, num_blocks, max_batched_tokens, .. } = self.config;
        self.prefill = PrefillQueue::new(max_batched_tokens);
        let footprints = running.iter().map(|outlook| footprint(outlook, self.level, &mut self.prefill));
        let mut batch: Vec<(Footprint, &[u32])> = footprints.zip(tables.iter().copied()).collect();
        batch.sort_by_key(|(footprint, _)| Reverse(footprint.steps));
        let shared = charged_before(batch.iter().map(|&(_, table)| table), num_blocks);
        // A shared block is full, and the token computed next is in none: `held` stays above 0.
        let charged = batch
            .iter()
            .zip(shared)
            .map(|(&(Footprint { held, steps }, _), blocks)| Footprint { held: held - blocks * block_size, steps });
        self.profile.reset(charged);
    }

    pub(super) fn fits(&self, candidate: &Outlook) -> bool {
        let new = footprint(candidate, self.level, &mut self.prefill.clone());
        self.profile.peak_with(new) <= u64::from(self.config.num_blocks)
    }

    pub(super) fn add(&mut self, admitted: &Outlook) {
        let new = footprint(admitted, self.level, &mut self.prefill);
        self.profile.insert(new);
    }
}

fn footprint(outlook: &Outlook, level: f32, prefill: &mut PrefillQueue) -> Footprint {
    let delay = prefill.delay_of_next(&outlook.view);
    Footprint { held: outlook.view.known(), steps: outlook.remaining_at(level).saturating_add(delay) }
}

/// The batch in running order, as far as it was walked.
#[derive(Clone, Debug)]
struct PrefillQueue {
    max_batched_tokens: u32,
    requests: u32,
    tokens: u64,
}

impl PrefillQueue {
    fn new(max_batched_tokens: u32) -> Self {
        Self { max_batched_tokens, requests: 0, tokens: 0 }
    }

    /// Steps the next request spends in prefill before the one that samples.
    fn delay_of_next(&mut self, view: &RequestView) -> u32 {
        let tokens_per_step = self.max_batched_tokens.saturating_sub(self.requests).max(1);
        self.requests += 1;
        if view.decodes() {
            return 0;
        }
        self.tokens += u64::from(view.pending());
        let steps = self.tokens.div_ceil(u64::from(tokens_per_step));
        u32::try_from(steps - 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{Forecast, LEVELS};
    use crate::view::tests::view;

    fn config(num_blocks: u32) -> SchedulerConfig {
        SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 }
    }

    fn decoding(generated: u32, remaining: u32) -> Outlook {
        let view = RequestView { generated, computed: 9 + generated, ..view(1) };
        Outlook::new(view, Some(Forecast::certain(remaining)))
    }

    #[test]
    fn a_short_request_fits_beside_one_that_frees_in_time() {
        let newcomer = Outlook::new(view(2), Some(Forecast::certain(20)));
        // Step 5: 44 + 14 when the first ends; step 20: 29.
        for (num_blocks, fits) in [(58, true), (57, false)] {
            let mut peak = FuturePeak::new(0.5, config(num_blocks));
            peak.reset(&[decoding(30, 5)], &[&[]]);
            assert_eq!(peak.fits(&newcomer), fits, "{num_blocks}");
        }
    }

    #[test]
    fn a_shared_block_is_held_until_the_last_of_its_requests_ends() {
        let newcomer = Outlook::new(view(2), Some(Forecast::certain(20)));
        // Step 3: 42 + 42 + 12 tokens when the first ends; step 20: 59 + 29. Of these 10 are shared, and in step 20 one
        // request alone holds them.
        for (num_blocks, shares, fits) in [(96, false, true), (95, false, false), (88, true, true), (87, true, false)] {
            let mut peak = FuturePeak::new(0.5, config(num_blocks));
            let table: Vec<u32> = (0..10).collect();
            let other: Vec<u32> = if shares { table.clone() } else { (10..20).collect() };
            for (first, second) in [(3, 20), (20, 3)] {
                peak.reset(&[decoding(30, first), decoding(30, second)], &[&table, &other]);
                assert_eq!(peak.fits(&newcomer), fits, "{num_blocks} {shares}");
            }
        }
    }

    #[test]
    fn a_higher_level_reserves_more() {
        let uniform = Forecast { mean: 50.0, quantiles: LEVELS.map(|level| 100.0 * level) };
        let newcomer = Outlook::new(view(2), Some(uniform));
        let mut peak = FuturePeak::new(0.5, config(80));
        peak.reset(&[], &[]);
        assert!(peak.fits(&newcomer));
        peak = FuturePeak::new(0.9, config(80));
        assert!(!peak.fits(&newcomer));
    }

    #[test]
    fn an_admitted_request_counts_for_the_next() {
        let mut peak = FuturePeak::new(0.5, config(50));
        peak.reset(&[], &[]);
        let newcomer = Outlook::new(view(2), Some(Forecast::certain(20)));
        assert!(peak.fits(&newcomer));
        peak.add(&newcomer);
        assert!(!peak.fits(&newcomer));
    }

    #[test]
    fn prefill_waits_for_what_is_ahead() {
        let mut prefill = PrefillQueue::new(12);
        assert_eq!(prefill.delay_of_next(&decoding(3, 5).view), 0);
        assert_eq!(prefill.delay_of_next(&decoding(3, 5).view), 0);
        // 10 tokens a step are left: 10 of the first, then 10 of the second.
        assert_eq!(prefill.delay_of_next(&view(3)), 0);
        assert_eq!(prefill.delay_of_next(&view(4)), 2);
    }
}
