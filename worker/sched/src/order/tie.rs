//! Expected length and the tail of it: `E[length] + beta * CVaR_0.9` (TIE). The longer the queue for the batch, the
//! more the tail weighs, as a long request keeps more others waiting: `beta = min(0.5, max(0.1, 0.1 queue / batch))`.
//! Each 30 s of waiting take off a tenth.

use super::moment::Moment;
use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::Outlook;

const SECONDS_PER_DISCOUNT: f64 = 30.0;
const DISCOUNT: f64 = 0.9;

pub(super) static RULE: OrderRule = OrderRule {
    moves_with_time: true,
    keeps_forecast: u32::MAX,
    ..OrderRule::on_forecast("tie", Argument::None, |at_arrival, _, moment| score(at_arrival, moment))
};

fn score(at_arrival: &Outlook, moment: &Moment) -> f64 {
    let beta = (0.1 * moment.waiting as f64 / moment.running.max(1) as f64).clamp(0.1, 0.5);
    let length = f64::from(at_arrival.mean_remaining()) + beta * worst_tenth(at_arrival);
    let waited = (moment.now - at_arrival.view.request.arrival).max(0.0);
    length * DISCOUNT.powf((waited / SECONDS_PER_DISCOUNT).floor())
}

/// CVaR_0.9, the mean of the longest tenth: the quantile function is taken as straight between the levels 0.9, 0.95 and
/// 0.99, and as level above.
fn worst_tenth(outlook: &Outlook) -> f64 {
    let [.., q90, q95, q99] = outlook.quantiles().map(f64::from);
    0.5 * (q90 + q95) / 2.0 + 0.4 * (q95 + q99) / 2.0 + 0.1 * q99
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::{LEVELS, RemainingLength};
    use crate::view::tests::view;

    const MOMENT: Moment = Moment { waiting: 20, running: 10, ..Moment::START };

    fn forecast(mean: f32, q90: f32) -> Outlook {
        let quantiles = LEVELS.map(|level| if level < 0.9 { mean } else { q90 });
        Outlook::new(view(0), Some(RemainingLength { mean, quantiles }))
    }

    #[test]
    fn of_two_with_the_same_mean_the_one_with_the_shorter_tail_goes_first() {
        // 30 + 0.2 * 30 and 30 + 0.2 * 80.
        assert!((score(&forecast(30.0, 30.0), &MOMENT) - 36.0).abs() < 1e-4);
        assert!((score(&forecast(30.0, 80.0), &MOMENT) - 46.0).abs() < 1e-4);
    }

    #[test]
    fn the_tail_weighs_between_a_tenth_and_a_half() {
        let score = |waiting| score(&forecast(30.0, 80.0), &Moment { waiting, ..MOMENT });
        assert!((score(0) - 38.0).abs() < 1e-4);
        assert!((score(1000) - 70.0).abs() < 1e-4);
    }

    #[test]
    fn thirty_seconds_of_waiting_take_off_a_tenth() {
        let score = |now| score(&forecast(30.0, 30.0), &Moment { now, ..MOMENT });
        assert_eq!(score(29.9), score(0.0));
        assert!((score(61.0) - 0.81 * score(0.0)).abs() < 1e-9);
    }
}
