//! Blocks for this step are enough; whoever does not fit later is preempted. The floor under every other rule.

use super::rule::{AdmissionControl, AdmissionRule};
use crate::signature::Argument;
use crate::view::Outlook;

pub(super) static RULE: AdmissionRule = AdmissionRule::new("aggressive", Argument::None, |_, _| Box::new(NothingElse));

/// What this rule asks beside the floor.
#[derive(Debug)]
struct NothingElse;

impl AdmissionControl for NothingElse {
    fn reset(&mut self, _running: &[Outlook], _tables: &[&[u32]]) {}

    fn fits(&self, _candidate: &Outlook) -> bool {
        true
    }

    fn add(&mut self, _admitted: &Outlook) {}
}

pub(super) fn fits(step_blocks: u32, free_blocks: u32) -> bool {
    step_blocks <= free_blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_free_block_may_be_taken() {
        assert!(fits(3, 3));
        assert!(!fits(4, 3));
    }
}
