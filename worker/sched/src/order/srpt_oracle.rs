//! Shortest remaining length first, without ageing: with true lengths for forecasts, the bound on what an order can do
//! for the mean. The oracle is whoever answers the forecasts ([`Policy::wants_truth`](crate::Policy::wants_truth)).

use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::Outlook;

pub(super) static RULE: OrderRule = OrderRule {
    wants_truth: true,
    ..OrderRule::on_forecast("srpt-oracle", Argument::None, |outlook, _, _| score(outlook))
};

fn score(outlook: &Outlook) -> f64 {
    f64::from(outlook.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::tests::view;

    #[test]
    fn no_wait_makes_up_for_a_token_more() {
        let remaining = |key, tokens| score(&Outlook::new(view(key), Some(RemainingLength::certain(tokens))));
        assert!(remaining(99, 20) < remaining(0, 21));
    }
}
