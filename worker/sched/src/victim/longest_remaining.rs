//! The one with the largest predicted remaining length: it would hold its blocks longest.
//!
//! Against thrashing, a request past 0.8 of its predicted length is spared while there is another (TRAIL's c = 0.8):
//! it has much to recompute and frees its blocks soon. Among equals the one admitted last goes.

use super::rule::VictimRule;
use crate::view::Outlook;

const SPARED_FROM: f32 = 0.8;

pub(super) static RULE: VictimRule =
    VictimRule::on_forecast("longest-remaining", |running, eligible| choose(running, eligible.iter().copied()));

fn choose(running: &[Outlook], eligible: impl Iterator<Item = usize>) -> Option<usize> {
    eligible.max_by(|&a, &b| {
        let (a, b) = (&running[a], &running[b]);
        let remaining = a.mean_remaining().total_cmp(&b.mean_remaining());
        spared(b).cmp(&spared(a)).then(remaining)
    })
}

fn spared(outlook: &Outlook) -> bool {
    let generated = outlook.view.generated as f32;
    generated >= SPARED_FROM * (generated + outlook.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{RequestView, tests::view};

    fn running(lengths: &[(u32, u32)]) -> Vec<Outlook> {
        let outlook = |&(generated, remaining): &(u32, u32)| {
            Outlook::new(RequestView { generated, ..view(1) }, Some(RemainingLength::certain(remaining)))
        };
        lengths.iter().map(outlook).collect()
    }

    #[test]
    fn the_largest_predicted_remaining_length_goes_and_the_last_of_equals() {
        assert_eq!(choose(&running(&[(9, 50), (9, 70), (9, 60)]), 0..3), Some(1));
        assert_eq!(choose(&running(&[(9, 70), (9, 70), (9, 60)]), 0..3), Some(1));
    }

    #[test]
    fn a_request_past_four_fifths_of_its_length_is_spared_while_there_is_another() {
        assert_eq!(choose(&running(&[(80, 20), (9, 10)]), 0..2), Some(1));
        assert_eq!(choose(&running(&[(80, 20), (90, 10)]), 0..2), Some(0));
    }
}
