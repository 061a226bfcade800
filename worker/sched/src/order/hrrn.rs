//! Highest response ratio next (Brinch Hansen 1971), on the forecast: `(wait + service) / service`.
//!
//! With service = tokens * seconds a token, the ratio is 1 + (wait / tokens) / seconds a token; as all requests share
//! the last factor, the order is that of wait / tokens, and no speed need be known. The ratio of every waiting request
//! grows without bound and nobody's faster than the oldest of its length: nobody starves.

use super::moment::Moment;
use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::Outlook;

pub(super) static RULE: OrderRule = OrderRule {
    moves_with_time: true,
    ..OrderRule::on_forecast("hrrn", Argument::None, |outlook, _, moment| score(outlook, moment))
};

fn score(outlook: &Outlook, moment: &Moment) -> f64 {
    let waited = (moment.now - outlook.view.request.arrival - outlook.view.served).max(0.0);
    -waited / f64::from(outlook.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{Request, RequestView, tests::view};

    #[test]
    fn twice_the_length_must_wait_twice_as_long() {
        let moment = Moment { now: 10.0, ..Moment::START };
        let arrived = |arrival, length| {
            let view = RequestView { request: Request { arrival, ..view(1).request }, ..view(1) };
            score(&Outlook::new(view, Some(RemainingLength::certain(length))), &moment)
        };
        assert!(arrived(8.0, 20) < arrived(6.1, 40));
        assert!(arrived(8.0, 20) > arrived(5.9, 40));
    }
}
