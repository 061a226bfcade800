//! The one that costs least to redo for what it frees: tokens to compute again against KV entries freed and for how
//! long.
//!
//! A request that holds c tokens and will generate r more would hold `r (c + r / 2)` token-steps from now on, and
//! costs c tokens of prefill to come back; the largest `r (1 + r / (2 c))` goes. So a long rest counts, and among equal
//! rests the request with less behind it; one near its end, or with much to redo, stays. Among equals the one admitted
//! last goes.

use super::rule::VictimRule;
use crate::view::Outlook;

pub(super) static RULE: VictimRule =
    VictimRule::on_forecast("least-cost", |running, eligible| choose(running, eligible.iter().copied()));

fn choose(running: &[Outlook], eligible: impl Iterator<Item = usize>) -> Option<usize> {
    eligible.max_by(|&a, &b| freed_per_token(&running[a]).total_cmp(&freed_per_token(&running[b])))
}

/// Token-steps freed for each token to compute again.
fn freed_per_token(outlook: &Outlook) -> f64 {
    let (rest, computed) = (f64::from(outlook.mean_remaining()), f64::from(outlook.view.computed.max(1)));
    rest * (1.0 + rest / (2.0 * computed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{RequestView, tests::view};

    fn running(requests: &[(u32, u32)]) -> Vec<Outlook> {
        let outlook = |&(computed, remaining): &(u32, u32)| {
            Outlook::new(RequestView { computed, ..view(1) }, Some(RemainingLength::certain(remaining)))
        };
        requests.iter().map(outlook).collect()
    }

    #[test]
    fn of_equal_rests_the_one_with_less_to_redo_goes() {
        assert_eq!(choose(&running(&[(90, 50), (10, 50), (40, 50)]), 0..3), Some(1));
    }

    #[test]
    fn of_equal_costs_the_one_that_would_hold_longest_goes() {
        assert_eq!(choose(&running(&[(40, 10), (40, 60), (40, 50)]), 0..3), Some(1));
    }

    #[test]
    fn much_to_redo_outweighs_a_somewhat_longer_rest() {
        // 60 * (1 + 60 / 1000) = 64, 40 * (1 + 40 / 20) = 120.
        assert_eq!(choose(&running(&[(500, 60), (10, 40)]), 0..2), Some(1));
    }
}
