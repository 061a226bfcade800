//! Shortest predicted remaining length first, predicted anew every 50 tokens (ISRTF of ELIS, Choi et al. 2025, which
//! runs its batch in windows of 50 tokens). Between two predictions a request stands where the last put it.

use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::Outlook;

/// Tokens for which a prediction is kept.
const WINDOW: u32 = 50;

pub(super) static RULE: OrderRule = OrderRule {
    keeps_forecast: WINDOW,
    ..OrderRule::on_forecast("isrtf-50", Argument::None, |at_window, _, _| score(at_window))
};

fn score(at_window: &Outlook) -> f64 {
    f64::from(at_window.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::tests::view;

    #[test]
    fn the_shortest_remaining_at_the_last_prediction_goes_first() {
        let predicted = |remaining| score(&Outlook::new(view(1), Some(RemainingLength::certain(remaining))));
        assert!(predicted(20) < predicted(30));
    }
}
