//! The future peak of the running batch, for rules that put a number on each remaining length.
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

use crate::config::SchedulerConfig;
use crate::peak::{Footprint, PeakProfile};
use crate::sharing::charged_before;
use crate::view::{Outlook, RequestView};

#[derive(Debug)]
pub(super) struct FuturePeak {
    config: SchedulerConfig,
    profile: PeakProfile,
    prefill: PrefillQueue,
}

impl FuturePeak {
    pub(super) fn new(config: SchedulerConfig) -> Self {
        let prefill = PrefillQueue::new(config.max_batched_tokens);
        Self { config, profile: PeakProfile::new(config.block_size), prefill }
    }

    /// Starts over with the running batch; `remaining` is the number for each, tokens.
    pub(super) fn reset(&mut self, running: &[Outlook], tables: &[&[u32]], remaining: impl Fn(&Outlook) -> u32) {
        let SchedulerConfig { block_size, num_blocks, max_batched_tokens, .. } = self.config;
        self.prefill = PrefillQueue::new(max_batched_tokens);
        let footprints = running.iter().map(|outlook| footprint(outlook, remaining(outlook), &mut self.prefill));
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

    /// The most blocks held at once, were `candidate` to join.
    pub(super) fn peak_with(&self, candidate: &Outlook, remaining: u32) -> u64 {
        self.profile.peak_with(footprint(candidate, remaining, &mut self.prefill.clone()))
    }

    pub(super) fn add(&mut self, admitted: &Outlook, remaining: u32) {
        let new = footprint(admitted, remaining, &mut self.prefill);
        self.profile.insert(new);
    }
}

fn footprint(outlook: &Outlook, remaining: u32, prefill: &mut PrefillQueue) -> Footprint {
    let delay = prefill.delay_of_next(&outlook.view);
    Footprint { held: outlook.view.known(), steps: remaining.saturating_add(delay) }
}

/// The batch in running order, as far as it was walked.
#[derive(Clone, Debug)]
pub(super) struct PrefillQueue {
    max_batched_tokens: u32,
    requests: u32,
    tokens: u64,
}

impl PrefillQueue {
    pub(super) fn new(max_batched_tokens: u32) -> Self {
        Self { max_batched_tokens, requests: 0, tokens: 0 }
    }

    /// Steps the next request spends in prefill before the one that samples.
    pub(super) fn delay_of_next(&mut self, view: &RequestView) -> u32 {
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
    use crate::remaining::RemainingLength;
    use crate::view::tests::view;

    fn config(num_blocks: u32) -> SchedulerConfig {
        SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 }
    }

    fn decoding(generated: u32, remaining: u32) -> Outlook {
        let view = RequestView { generated, computed: 9 + generated, ..view(1) };
        Outlook::new(view, Some(RemainingLength::certain(remaining)))
    }

    /// The peak with a newcomer that generates 20 tokens, after a batch whose lengths are known.
    fn peak_with_newcomer(running: &[Outlook], tables: &[&[u32]]) -> u64 {
        let mut peak = FuturePeak::new(config(1000));
        peak.reset(running, tables, |outlook| outlook.remaining_at(0.5));
        peak.peak_with(&Outlook::new(view(2), None), 20)
    }

    #[test]
    fn a_newcomer_adds_to_the_peak_what_it_holds_when_others_end() {
        // Step 5: 44 + 14 when the first ends; step 20: 29.
        assert_eq!(peak_with_newcomer(&[decoding(30, 5)], &[&[]]), 58);
    }

    #[test]
    fn a_shared_block_is_held_until_the_last_of_its_requests_ends() {
        // Step 3: 42 + 42 + 12 tokens when the first ends; step 20: 59 + 29. Of these 10 are shared, and in step 20 one
        // request alone holds them.
        let table: Vec<u32> = (0..10).collect();
        let other: Vec<u32> = (10..20).collect();
        for (first, second) in [(3, 20), (20, 3)] {
            let running = [decoding(30, first), decoding(30, second)];
            assert_eq!(peak_with_newcomer(&running, &[&table, &other]), 96);
            assert_eq!(peak_with_newcomer(&running, &[&table, &table]), 88);
        }
    }

    #[test]
    fn an_admitted_request_counts_for_the_next() {
        let mut peak = FuturePeak::new(config(50));
        peak.reset(&[], &[], |_| 1);
        let newcomer = Outlook::new(view(2), None);
        assert_eq!(peak.peak_with(&newcomer, 20), 29);
        peak.add(&newcomer, 20);
        assert_eq!(peak.peak_with(&newcomer, 20), 58);
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
