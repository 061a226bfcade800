//! The largest Gittins index of the predicted remaining length first, and every so many admissions the oldest.
//!
//! The index is the best rate of completions that serving a request for a while promises:
//! `max over d of P(L <= d) / E[min(L, d)]` (Gittins 1979; least mean latency in an M/G/1 whose lengths are known in
//! distribution only). Unlike the mean it tells a request that either ends now or runs very long from one that is sure
//! to run for the average of both. It is taken at the quantiles, between which the distribution function is straight,
//! and at d = infinity, where it is 1 / mean. The score is 1 / index, in tokens: with certain lengths, the length.
//!
//! The bound on waiting is the queue's (`turn`).

use super::rule::OrderRule;
use crate::remaining::LEVELS;
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

/// Every how many admissions the oldest goes: others overtake in 1 of 2.
const TURN: u32 = 2;

const ARGUMENT: Argument = Argument::Optional { placeholder: "TURN", default: TURN as f64, bounds: Bounds::COUNT };

pub(super) static RULE: OrderRule = OrderRule {
    turn: Some(|turn| turn as u32),
    ..OrderRule::on_forecast("gittins", ARGUMENT, |outlook, _, _| score(outlook))
};

fn score(outlook: &Outlook) -> f64 {
    let (mut served, mut before, mut ended_before) = (0.0, 0.0, 0.0);
    let mut tokens_per_end = f64::from(outlook.mean_remaining());
    for (quantile, level) in outlook.quantiles().into_iter().zip(LEVELS) {
        let (quantile, ended) = (f64::from(quantile), f64::from(level));
        served += (quantile - before) * (1.0 - (ended + ended_before) / 2.0);
        tokens_per_end = f64::min(tokens_per_end, served / ended);
        (before, ended_before) = (quantile, ended);
    }
    tokens_per_end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{Request, RequestView, tests::view};

    fn scored(forecast: RemainingLength) -> f64 {
        let request = Request { max_tokens: 5000, ..view(1).request };
        score(&Outlook::new(RequestView { request, ..view(1) }, Some(forecast)))
    }

    #[test]
    fn a_certain_length_is_its_own_score() {
        assert!((scored(RemainingLength::certain(50)) - 50.0).abs() < 0.1);
    }

    #[test]
    fn a_request_that_may_well_end_soon_goes_before_a_sure_one_of_the_same_mean() {
        // Half ends after 10 tokens, half after 990.
        let either =
            RemainingLength { mean: 500.0, quantiles: LEVELS.map(|level| if level < 0.55 { 10.0 } else { 990.0 }) };
        // 10 tokens of service end it with probability 0.5: 20 tokens an end.
        assert!((scored(either) - 20.0).abs() < 0.5);
        assert!(scored(either) < scored(RemainingLength::certain(21)));
    }

    #[test]
    fn an_exponential_length_is_worth_its_mean_whatever_the_horizon() {
        let exponential = RemainingLength { mean: 200.0, quantiles: LEVELS.map(|level| -200.0 * (1.0 - level).ln()) };
        assert!((scored(exponential) - 200.0).abs() < 4.0);
    }
}
