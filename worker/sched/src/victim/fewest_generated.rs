//! The one that generated fewest, and of those the one with the longest prompt (SGLang). It cuts the batch until what
//! stays has room for 20 steps, so that the next cut is not due at once.

use std::cmp::Reverse;

use super::rule::VictimRule;
use crate::view::Outlook;

/// Steps for which the batch has room after it was cut.
const STEPS_OF_ROOM: u32 = 20;

pub(super) static RULE: VictimRule = VictimRule {
    steps_of_room: STEPS_OF_ROOM,
    ..VictimRule::new("fewest-generated", |running, eligible| choose(running, eligible.iter().copied()))
};

fn choose(running: &[Outlook], eligible: impl Iterator<Item = usize>) -> Option<usize> {
    eligible.max_by_key(|&i| {
        let view = running[i].view;
        (Reverse(view.generated), view.request.prompt_tokens)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Request, RequestView, tests::view};

    #[test]
    fn the_fewest_generated_go_and_the_longest_prompt_of_equals() {
        let running = [(5, 10), (2, 10), (2, 30), (2, 20)].map(|(generated, prompt_tokens)| {
            let request = Request { prompt_tokens, ..view(1).request };
            Outlook::new(RequestView { request, generated, ..view(1) }, None)
        });
        assert_eq!(choose(&running, 0..4), Some(2));
        assert_eq!(choose(&running, 0..2), Some(1));
    }
}
