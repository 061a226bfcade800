//! Shortest predicted length first. The length is predicted once, at arrival (`keeps_forecast`): what becomes
//! known while a request runs does not move it, and nothing ages, as in the literature it stands for.

use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::Outlook;

pub(super) static RULE: OrderRule = OrderRule {
    keeps_forecast: u32::MAX,
    ..OrderRule::on_forecast("sjf-pred", Argument::None, |at_arrival, _, _| score(at_arrival))
};

fn score(at_arrival: &Outlook) -> f64 {
    f64::from(at_arrival.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::tests::view;

    #[test]
    fn the_shortest_predicted_goes_first_whoever_came_first() {
        let predicted = |key, length| score(&Outlook::new(view(key), Some(RemainingLength::certain(length))));
        assert!(predicted(9, 20) < predicted(1, 30));
    }
}
