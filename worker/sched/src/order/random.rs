//! In no order at all: by a hash of the key and a seed.

use super::rule::OrderRule;
use crate::draw::uniform;
use crate::signature::{Argument, Bounds};
use crate::view::RequestView;

const SEEDS: Bounds = Bounds {
    expected: "a whole number from 0 to 1000000",
    holds: |seed| (0.0..=1e6).contains(&seed) && seed.fract() == 0.0,
};

const ARGUMENT: Argument = Argument::Optional { placeholder: "SEED", default: 0.0, bounds: SEEDS };

pub(super) static RULE: OrderRule =
    OrderRule::new("random", ARGUMENT, |outlook, seed, _| score(&outlook.view, seed as u64));

fn score(view: &RequestView, seed: u64) -> f64 {
    uniform(&[seed, view.request.key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    #[test]
    fn the_order_is_that_of_the_seed() {
        let order = |seed| {
            let mut keys: Vec<u64> = (0..20).collect();
            keys.sort_by(|&a, &b| score(&view(a), seed).total_cmp(&score(&view(b), seed)));
            keys
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..20).collect::<Vec<_>>());
    }
}
