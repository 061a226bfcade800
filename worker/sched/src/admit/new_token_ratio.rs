//! Each running request reserves a part of what it may still generate, and the part adapts (SGLang).
//!
//! The ratio starts at 0.7 times the conservativeness, falls with every step to 0.14 of that in 600 steps, and rises
//! when the batch had to be cut to `(generated + 20 n) / max_tokens` of the n requests that stayed. A new request is
//! charged for all it may generate and a block more; what one may still generate counts up to 4096 tokens.
//!
//! Its victim rule is `fewest-generated`, which leaves room for 20 steps.

use super::rule::{AdmissionControl, AdmissionRule};
use crate::config::SchedulerConfig;
use crate::sharing::charged_before;
use crate::signature::{Argument, Bounds};
use crate::victim::Victim;
use crate::view::{Outlook, RequestView};

/// Factor on the part that is reserved at first.
const CONSERVATIVENESS: f64 = 1.0;

const FIRST: f64 = 0.7;
const LEAST: f64 = 0.14;
const DECAY_STEPS: f64 = 600.0;
const MOST_NEW_TOKENS: u32 = 4096;
/// Steps that a cut batch is expected to run.
const STEPS_AFTER_CUT: u32 = 20;

const FACTORS: Bounds =
    Bounds { expected: "a finite factor above 0", holds: |factor| factor > 0.0 && factor.is_finite() };

const ARGUMENT: Argument =
    Argument::Optional { placeholder: "CONSERVATIVENESS", default: CONSERVATIVENESS, bounds: FACTORS };

pub(super) static RULE: AdmissionRule = AdmissionRule {
    usual_victim: Victim::FEWEST_GENERATED,
    ..AdmissionRule::new("new-token-ratio", ARGUMENT, |conservativeness, config| {
        Box::new(NewTokenRatio::new(conservativeness, config))
    })
};

#[derive(Debug)]
struct NewTokenRatio {
    config: SchedulerConfig,
    first: f64,
    ratio: f64,
    reserved_tokens: f64,
}

impl NewTokenRatio {
    fn new(conservativeness: f64, config: SchedulerConfig) -> Self {
        let first = (FIRST * conservativeness).min(1.0);
        Self { config, first, ratio: first, reserved_tokens: 0.0 }
    }

    fn held_tokens(&self, outlook: &Outlook) -> u32 {
        self.config.blocks_for(outlook.view.known()) * self.config.block_size
    }

    fn whole(&self, outlook: &Outlook) -> f64 {
        f64::from(outlook.view.known()) + f64::from(new_tokens(outlook)) + f64::from(self.config.block_size)
    }
}

impl AdmissionControl for NewTokenRatio {
    fn stepped(&mut self, running: &mut dyn Iterator<Item = RequestView>, preempted: bool) {
        let mut running = running.peekable();
        if running.peek().is_none() {
            self.ratio = self.first;
        } else if preempted {
            let (generated, most) = running.fold((0.0, 1.0), |(generated, most), view| {
                let soon = f64::from(view.generated) + f64::from(STEPS_AFTER_CUT);
                (generated + soon, most + f64::from(view.request.max_tokens))
            });
            self.ratio = (generated / most).min(1.0);
        } else if running.any(|view| view.decodes()) {
            let least = LEAST * self.first;
            self.ratio = (self.ratio - (self.first - least) / DECAY_STEPS).max(least);
        }
    }

    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        let held: u32 = running.iter().map(|outlook| self.held_tokens(outlook)).sum();
        let shared: u32 = charged_before(tables.iter().copied(), self.config.num_blocks).sum();
        let new: f64 = running.iter().map(|outlook| f64::from(new_tokens(outlook))).sum();
        self.reserved_tokens = f64::from(held - shared * self.config.block_size) + self.ratio * new;
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        self.reserved_tokens + self.whole(candidate) <= self.config.kv_tokens() as f64
    }

    fn add(&mut self, admitted: &Outlook) {
        self.reserved_tokens += self.whole(admitted);
    }
}

fn new_tokens(outlook: &Outlook) -> u32 {
    outlook.view.max_remaining().min(MOST_NEW_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    fn gate(num_blocks: u32) -> NewTokenRatio {
        let config = SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 };
        NewTokenRatio::new(CONSERVATIVENESS, config)
    }

    fn decoding(generated: u32) -> Outlook {
        Outlook::new(RequestView { generated, computed: 9 + generated, ..view(1) }, None)
    }

    #[test]
    fn running_requests_reserve_the_ratio_and_a_new_one_all_it_may_generate() {
        // 40 held, 0.7 of 70 to come; a new one 10 + 100 and a block.
        for (num_blocks, fits) in [(200, true), (199, false)] {
            let mut gate = gate(num_blocks);
            gate.reset(&[decoding(30)], &[&[]]);
            assert_eq!(gate.fits(&Outlook::new(view(2), None)), fits);
        }
    }

    #[test]
    fn the_ratio_falls_to_a_seventh_in_600_steps_and_starts_again_when_idle() {
        let mut gate = gate(1000);
        let mut after = |steps| {
            (0..steps).for_each(|_| gate.stepped(&mut [decoding(30).view].into_iter(), false));
            gate.ratio
        };
        assert!((after(300) - 0.399).abs() < 1e-9);
        assert!((after(300) - 0.098).abs() < 1e-9);
        assert!((after(9) - 0.098).abs() < 1e-9);
        gate.stepped(&mut [].into_iter(), false);
        assert_eq!(gate.ratio, 0.7);
    }

    #[test]
    fn a_cut_raises_the_ratio_to_what_the_rest_has_generated_and_twenty_steps() {
        let mut gate = gate(1000);
        gate.stepped(&mut [decoding(30).view, decoding(50).view].into_iter(), true);
        assert!((gate.ratio - 120.0 / 201.0).abs() < 1e-9);
        gate.stepped(&mut [decoding(90).view].into_iter(), true);
        assert_eq!(gate.ratio, 1.0);
    }

    #[test]
    fn conservativeness_scales_the_ratio_up_to_one() {
        let config = SchedulerConfig { block_size: 1, num_blocks: 1, max_running: 1, max_batched_tokens: 1 };
        assert_eq!([0.5, 1.0, 2.0].map(|factor| NewTokenRatio::new(factor, config).ratio), [0.35, 0.7, 1.0]);
    }
}
