//! Shortest prompt first, with ageing: what a scheduler can do that forecasts nothing.
//!
//! As in [`srpt_pred`](super::srpt_pred), `prompt tokens - age_rate * seconds waited` gives the same order as
//! `prompt tokens + age_rate * arrival`, which stays put.

use super::rule::OrderRule;
use crate::signature::{Argument, Bounds};
use crate::view::RequestView;

/// Tokens that a second of waiting is worth.
const AGE_RATE: f64 = 2.0;

const ARGUMENT: Argument =
    Argument::Optional { placeholder: "TOKENS_PER_SECOND", default: AGE_RATE, bounds: Bounds::RATE };

pub(super) static RULE: OrderRule =
    OrderRule::new("sjf-prompt", ARGUMENT, |outlook, age_rate, _| score(&outlook.view, age_rate));

fn score(view: &RequestView, age_rate: f64) -> f64 {
    f64::from(view.request.prompt_tokens) + age_rate * view.request.arrival
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Request, tests::view};

    #[test]
    fn the_shorter_prompt_goes_first_until_the_longer_has_waited_for_the_difference() {
        let arrived = |arrival, prompt_tokens| {
            let request = Request { arrival, prompt_tokens, ..view(1).request };
            score(&RequestView { request, ..view(1) }, 2.0)
        };
        assert!(arrived(4.0, 20) < arrived(0.0, 30));
        assert!(arrived(6.0, 20) > arrived(0.0, 30));
    }
}
