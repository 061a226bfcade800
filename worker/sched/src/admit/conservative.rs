//! Prompt and `max_tokens` of the whole batch are reserved up front, so that nobody is ever preempted.

use super::rule::{AdmissionControl, AdmissionRule};
use crate::config::SchedulerConfig;
use crate::sharing::charged_before;
use crate::signature::Argument;
use crate::view::Outlook;

pub(super) static RULE: AdmissionRule =
    AdmissionRule::new("conservative", Argument::None, |_, config| Box::new(Reservation::new(config)));

#[derive(Debug)]
struct Reservation {
    config: SchedulerConfig,
    reserved_blocks: u32,
}

impl Reservation {
    fn new(config: SchedulerConfig) -> Self {
        Self { config, reserved_blocks: 0 }
    }

    fn blocks(&self, outlook: &Outlook) -> u32 {
        let request = outlook.view.request;
        self.config.blocks_for(request.prompt_tokens + request.max_tokens)
    }
}

impl AdmissionControl for Reservation {
    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        let apart: u32 = running.iter().map(|outlook| self.blocks(outlook)).sum();
        let shared: u32 = charged_before(tables.iter().copied(), self.config.num_blocks).sum();
        self.reserved_blocks = apart - shared;
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        self.reserved_blocks + self.blocks(candidate) <= self.config.num_blocks
    }

    fn add(&mut self, admitted: &Outlook) {
        self.reserved_blocks += self.blocks(admitted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    #[test]
    fn each_request_reserves_its_prompt_and_max_tokens_in_whole_blocks() {
        // 110 tokens are 7 blocks of 16.
        let config = SchedulerConfig { block_size: 16, num_blocks: 20, max_running: 8, max_batched_tokens: 64 };
        let mut reservation = Reservation::new(config);
        let outlook = Outlook::new(view(1), None);
        reservation.reset(&[outlook], &[&[0]]);
        assert!(reservation.fits(&outlook));
        reservation.add(&outlook);
        assert!(!reservation.fits(&outlook));
    }

    #[test]
    fn what_running_requests_share_is_reserved_once() {
        let config = SchedulerConfig { block_size: 4, num_blocks: 82, max_running: 8, max_batched_tokens: 64 };
        let mut reservation = Reservation::new(config);
        let outlook = Outlook::new(view(1), None);
        // 28 blocks each.
        for (tables, fits) in [([&[0, 1, 2], &[3, 4, 5]], false), ([&[0, 1, 2], &[0, 1, 5]], true)] {
            reservation.reset(&[outlook; 2], &tables.map(|table| &table[..]));
            assert_eq!(reservation.fits(&outlook), fits, "{tables:?}");
        }
    }
}
