//! First come, first served.

use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::RequestView;

pub(super) static RULE: OrderRule = OrderRule::new("fcfs", Argument::None, |outlook, _, _| score(&outlook.view));

fn score(view: &RequestView) -> f64 {
    view.request.arrival
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    #[test]
    fn an_earlier_arrival_goes_first() {
        assert!(score(&view(1)) < score(&view(2)));
    }
}
