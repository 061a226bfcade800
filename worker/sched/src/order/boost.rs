//! First come, first served, but short requests count as if they had come earlier (γ-Boost: Yu and Scully, "Strongly
//! Tail-Optimal Scheduling in the Light-Tailed M/G/1", 2024, in its form for sizes known in distribution).
//!
//! The score is `arrival - b`, the boost being `b = ln(E / (E - 1)) / gamma` with `E = E[exp(gamma S)]` over the
//! forecast of the service time S: about `ln(1 / (gamma S)) / gamma` for a short request, near 0 for a long one. Of all
//! orders it has the lightest tail of latency when sizes are known and bounded; it lets the short ahead by what the
//! tail can bear and no more, where a linear price of waiting overcharges the long. The score stays put as time passes.
//!
//! S is the time that the request would keep the whole engine: steps times the larger of its shares of the KV budget
//! and of the places in the batch. So a long prompt weighs as much as it crowds out.
//!
//! `1 / gamma` is the scale of the tail, which in such a queue is about the mean wait; it is measured, times SCALE.
//!
//! No starvation: S is at least one token's, so b is bounded, and who arrives later by more than that stays behind.

use super::moment::Moment;
use super::rule::OrderRule;
use crate::remaining::LEVELS;
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

/// `1 / gamma` in mean waits. A larger one lowers the mean and lets the tail grow, up to shortest first. In virtual time
/// (a load of all that true lengths allow, KV budget 4,000 tokens, weak lognormal forecasts, `risk`) 1, 3 and 10 gave
/// 65, 55 and 50 ms a token at a P99 of 35, 41 and 53 s; `fcfs+past-future` 104 ms and 37 s.
pub(super) const SCALE: f64 = 3.0;

const SCALES: Bounds = Bounds { expected: "a finite scale above 0", holds: |scale| scale > 0.0 && scale.is_finite() };

const ARGUMENT: Argument = Argument::Optional { placeholder: "SCALE", default: SCALE, bounds: SCALES };

pub(super) static RULE: OrderRule = OrderRule::on_forecast("boost", ARGUMENT, score);

fn score(outlook: &Outlook, scale: f64, moment: &Moment) -> f64 {
    outlook.view.request.arrival - boost(outlook, scale * moment.mean_wait, moment)
}

/// Seconds, for a tail of `scale` seconds.
fn boost(outlook: &Outlook, scale: f64, moment: &Moment) -> f64 {
    if scale <= 0.0 || moment.step_seconds <= 0.0 {
        return 0.0;
    }
    let growth = outlook.quantiles().map(|length| (service(outlook, f64::from(length), moment) / scale).exp_m1());
    // E - 1, the quantile function being straight between the levels; the hundredths beyond count as the outermost.
    let ends = 0.01 * (growth[0] + growth[growth.len() - 1]);
    let between = growth.windows(2).zip(LEVELS.windows(2));
    let mean: f64 = between.map(|(growth, level)| f64::from(level[1] - level[0]) * (growth[0] + growth[1]) / 2.0).sum();
    scale * (1.0 / (ends + mean)).ln_1p()
}

/// Seconds of the whole engine that `length` more tokens take.
fn service(outlook: &Outlook, length: f64, moment: &Moment) -> f64 {
    let held = f64::from(outlook.view.known()) + length / 2.0;
    let share = (held / moment.kv_tokens).max(1.0 / moment.max_running);
    length * share * moment.step_seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{Request, RequestView, tests::view};

    const MOMENT: Moment =
        Moment { step_seconds: 0.1, mean_wait: 10.0, kv_tokens: 1000.0, max_running: 10.0, ..Moment::START };

    fn certain(prompt_tokens: u32, length: u32) -> Outlook {
        let request = Request { prompt_tokens, max_tokens: 1000, ..view(0).request };
        Outlook::new(RequestView { request, ..view(0) }, Some(RemainingLength::certain(length)))
    }

    #[test]
    fn a_certain_service_time_gets_the_published_boost() {
        // 20 tokens at a tenth of the batch: 0.2 s, and ln(1 / (1 - exp(-0.02))) * 10 = 39.2 s.
        assert!((boost(&certain(10, 20), 10.0, &MOMENT) - 39.22).abs() < 0.01);
        // Twice the length: ln(2) / gamma = 6.9 s less, as long as both are short.
        assert!((boost(&certain(10, 40), 10.0, &MOMENT) - 32.39).abs() < 0.01);
    }

    #[test]
    fn a_long_request_is_not_boosted_and_not_punished() {
        let boost = boost(&certain(500, 1000), 10.0, &MOMENT);
        assert!((0.0..0.1).contains(&boost), "{boost}");
    }

    #[test]
    fn a_prompt_that_crowds_out_others_counts() {
        // 110 of 1000 tokens are more than a tenth of the batch, 90 are less.
        assert_eq!(boost(&certain(50, 20), 10.0, &MOMENT), boost(&certain(90, 20), 10.0, &MOMENT));
        assert!(boost(&certain(900, 20), 10.0, &MOMENT) < boost(&certain(90, 20), 10.0, &MOMENT));
    }

    #[test]
    fn while_nobody_waits_the_order_is_that_of_arrival() {
        assert_eq!(score(&certain(10, 20), 1.0, &Moment { mean_wait: 0.0, ..MOMENT }), 0.0);
    }
}
