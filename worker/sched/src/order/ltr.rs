//! Predicted rank, with promotion of who starves (Fu et al., "Efficient LLM Scheduling by Learning to Rank", 2024).
//!
//! The rank is by the length predicted at arrival; only its order matters. A request that waited for so many steps goes
//! before those that did not, and keeps that place until it runs.

use super::moment::Moment;
use super::rule::OrderRule;
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

/// Steps of waiting after which a request is promoted: `starv200` in the authors' runs of fairness.
const STARVATION_STEPS: u32 = 200;

const ARGUMENT: Argument =
    Argument::Optional { placeholder: "STEPS", default: STARVATION_STEPS as f64, bounds: Bounds::COUNT };

pub(super) static RULE: OrderRule = OrderRule {
    moves_with_time: true,
    keeps_forecast: u32::MAX,
    ..OrderRule::on_forecast("ltr", ARGUMENT, |at_arrival, steps, moment| score(at_arrival, steps as u32, moment))
};

fn score(at_arrival: &Outlook, starvation_steps: u32, moment: &Moment) -> f64 {
    let starves_after = f64::from(starvation_steps) * moment.step_seconds;
    let starves = starves_after > 0.0 && moment.now - at_arrival.view.queued_at >= starves_after;
    let rank = f64::from(at_arrival.mean_remaining());
    // Below the length of any request, and in rank order among themselves.
    if starves { rank - f64::from(u32::MAX) } else { rank }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{RequestView, tests::view};

    #[test]
    fn who_waited_for_two_hundred_steps_goes_before_the_shortest() {
        let moment = Moment { now: 10.0, step_seconds: 0.02, ..Moment::START };
        let queued = |queued_at, length| {
            let view = RequestView { queued_at, ..view(1) };
            score(&Outlook::new(view, Some(RemainingLength::certain(length))), STARVATION_STEPS, &moment)
        };
        assert!(queued(6.1, 90) > queued(6.1, 10));
        assert!(queued(5.9, 90) < queued(6.1, 10));
        assert!(queued(5.9, 90) > queued(5.9, 10));
    }
}
