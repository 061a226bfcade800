//! The one with the fewest computed tokens: the cheapest to redo. Among equals the one admitted last goes.

use std::cmp::Reverse;

use super::rule::VictimRule;
use crate::view::Outlook;

pub(super) static RULE: VictimRule =
    VictimRule::new("least-computed", |running, eligible| choose(running, eligible.iter().copied()));

fn choose(running: &[Outlook], eligible: impl Iterator<Item = usize>) -> Option<usize> {
    eligible.max_by_key(|&i| Reverse(running[i].view.computed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{RequestView, tests::view};

    #[test]
    fn the_fewest_computed_go_and_the_last_of_equals() {
        let running = [9, 3, 7, 3].map(|computed| Outlook::new(RequestView { computed, ..view(1) }, None));
        assert_eq!(choose(&running, 0..4), Some(3));
        assert_eq!(choose(&running, 0..3), Some(1));
    }
}
