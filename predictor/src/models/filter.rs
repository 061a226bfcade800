//! [`Filter`]: a Bayes filter over remaining length, so that forecasts learn from step to step instead of jumping.

use super::head::{BIN_EDGES, BINS, survival_at_edges};

/// The belief about a request between two steps: probabilities of bins, and the step they hold at.
///
/// With every token the belief moves down by one and loses what has turned out too short. It is then pooled with what the
/// model says of the new step, belief(r)^(1 - a) x model(r)^a, the logarithmic pool of Genest and Zidek (Statistical Science
/// 1, 1986): successive steps say much the same, so that taking them as independent evidence would make the belief far too
/// sure. `a` = 1 takes the model at its word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filter {
    /// The weight `a` of the new step, above 0 and at most 1.
    pub gain: f32,
}

/// Numbers of a belief in memory: the step it holds at, which is -1 before the first, and the bins.
pub const BELIEF: usize = BINS + 1;

/// A belief with less than this left has been proven wrong.
const LEAST: f32 = 1e-6;
/// What no evidence may rule out.
const FLOOR: f32 = 1e-9;

impl Filter {
    /// A belief before anything is known.
    pub fn unknown() -> [f32; BELIEF] {
        let mut belief = [0.0; BELIEF];
        belief[0] = -1.0;
        belief
    }

    /// Takes in what the model says at `step`; `probabilities` become the new belief.
    pub fn update(&self, memory: &mut [f32], step: u32, probabilities: &mut [f32; BINS]) {
        let [at, belief @ ..] = memory else { return };
        let Ok(belief) = <&mut [f32; BINS]>::try_from(belief) else { return };
        let moved = if *at < 0.0 { None } else { advance(belief, (step as f32 - *at).max(0.0) as u32) };
        if let Some(moved) = moved.filter(|_| self.gain < 1.0) {
            for (p, before) in probabilities.iter_mut().zip(moved) {
                *p = ((1.0 - self.gain) * before.max(FLOOR).ln() + self.gain * p.max(FLOOR).ln()).exp();
            }
            let sum: f32 = probabilities.iter().sum();
            probabilities.iter_mut().for_each(|p| *p /= sum);
        }
        *belief = *probabilities;
        *at = step as f32;
    }
}

/// The belief after `tokens` more, uniform within bins; nothing if it had ruled that out.
pub fn advance(belief: &[f32; BINS], tokens: u32) -> Option<[f32; BINS]> {
    let left = survival_at_edges(belief);
    let mut k = 0;
    let mut survival = |length: u32| {
        while k + 1 < BINS && BIN_EDGES[k + 1] <= length {
            k += 1;
        }
        match BIN_EDGES.get(k + 1) {
            Some(end) => {
                let share = (end - length) as f32 / (end - BIN_EDGES[k]) as f32;
                left[k + 1] + (left[k] - left[k + 1]) * share
            }
            None => left[k],
        }
    };
    let total = survival(tokens);
    if total < LEAST {
        return None;
    }
    let mut moved = [0.0; BINS];
    let mut above = total;
    for (k, p) in moved.iter_mut().enumerate() {
        let next = BIN_EDGES.get(k + 1).map_or(0.0, |edge| survival(edge.saturating_add(tokens)));
        *p = (above - next).max(0.0) / total;
        above = next;
    }
    Some(moved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn belief() -> impl Strategy<Value = [f32; BINS]> {
        proptest::collection::vec(0.0f32..1.0, BINS).prop_map(|mut weights| {
            weights[3] += 0.1;
            let sum: f32 = weights.iter().sum();
            std::array::from_fn(|k| weights[k] / sum)
        })
    }

    #[test]
    fn what_is_certain_comes_one_token_nearer_with_each_token() {
        let mut certain = [0.0; BINS];
        certain[3] = 1.0;
        let next = advance(&certain, 1).unwrap();
        assert_eq!((next[2], next.iter().sum::<f32>()), (1.0, 1.0));
        assert_eq!(advance(&certain, 4), None);
    }

    #[test]
    fn a_belief_that_was_wrong_gives_way_to_the_model() {
        let mut memory = Filter::unknown();
        let filter = Filter { gain: 0.1 };
        let (mut soon, mut late) = ([0.0; BINS], [0.0; BINS]);
        (soon[0], late[30]) = (1.0, 1.0);
        filter.update(&mut memory, 1, &mut soon);
        filter.update(&mut memory, 5, &mut late);
        assert_eq!(late[30], 1.0);
    }

    proptest! {
        #[test]
        fn moving_on_keeps_the_mass_and_the_odds_of_what_is_left(belief in belief(), tokens in 0u32..300) {
            let Some(moved) = advance(&belief, tokens) else { return Ok(()) };
            prop_assert!((moved.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            prop_assert!(moved.iter().all(|p| (0.0..=1.0).contains(p)));
            let (before, after) = (survival_at_edges(&belief), survival_at_edges(&moved));
            // P(length > edge) now was P(length > edge + tokens | length > tokens).
            for (k, edge) in BIN_EDGES.iter().enumerate() {
                if let Some(at) = BIN_EDGES.iter().position(|e| *e == edge + tokens)
                    && let Some(start) = BIN_EDGES.iter().position(|e| *e == tokens)
                {
                    prop_assert!((after[k] * before[start] - before[at]).abs() < 1e-4);
                }
            }
        }

        #[test]
        fn a_belief_is_a_distribution_whatever_the_model_says(
            evidence in proptest::collection::vec((belief(), 1u32..40), 1..20), gain in 0.01f32..1.0,
        ) {
            let (filter, mut memory, mut step) = (Filter { gain }, Filter::unknown(), 0);
            for (mut probabilities, tokens) in evidence {
                step += tokens;
                filter.update(&mut memory, step, &mut probabilities);
                prop_assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                prop_assert!(probabilities.iter().all(|p| p.is_finite() && *p >= 0.0));
                prop_assert_eq!(memory[1..].to_vec(), probabilities.to_vec());
            }
        }
    }
}
