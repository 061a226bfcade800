//! At most so many run, whatever they hold: crude, and hard to beat once the number is tuned to the load.

use super::rule::{AdmissionControl, AdmissionRule};
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

const ARGUMENT: Argument = Argument::Required { placeholder: "N", bounds: Bounds::COUNT };

pub(super) static RULE: AdmissionRule =
    AdmissionRule::new("fixed-cap", ARGUMENT, |cap, _| Box::new(FixedCap { cap: cap as u32, running: 0 }));

#[derive(Debug)]
struct FixedCap {
    cap: u32,
    running: usize,
}

impl AdmissionControl for FixedCap {
    fn reset(&mut self, running: &[Outlook], _tables: &[&[u32]]) {
        self.running = running.len();
    }

    fn fits(&self, _candidate: &Outlook) -> bool {
        fits(self.running, self.cap)
    }

    fn add(&mut self, _admitted: &Outlook) {
        self.running += 1;
    }
}

fn fits(running: usize, cap: u32) -> bool {
    running < cap as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_may_be_taken() {
        assert!(fits(3, 4));
        assert!(!fits(4, 4));
    }
}
