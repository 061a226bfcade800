//! [`Prior`]: the law of reply lengths, estimated from past outcomes. Every model has one, for workers to fall back on.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eoscast_log::record::Outcome;
use eoscast_proto::domain::{LengthPrior, QUANTILE_LEVELS};

use super::warm_start::WarmStart;
use crate::distribution::LengthDistribution;
use crate::history::History;

/// Outcomes looked back on, unless an artifact says otherwise.
const OUTCOMES: usize = 2_000;

/// Changes whenever equal outcomes would give other answers.
const ALGORITHM: u32 = 1;

/// The guess before any outcome, P(length > x) = (1 + x/400)^-2: Lomax, mean 400 tokens, median 166. It weighs as much as one
/// outcome, so it rules at the start and beyond the longest reply known, where it keeps a heavy tail: there, a reply that
/// has come to t tokens is expected to go on for t + 400.
const GUESS_WEIGHT: f64 = 1.0;

fn guess(tokens: u32) -> f64 {
    (1.0 + f64::from(tokens) / 400.0).powi(-2)
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    ended: u32,
    censored: u32,
}

/// The survival function of reply lengths over a sliding window of outcomes, censored ones as censored.
///
/// The estimator is Susarla and Van Ryzin's (JASA 71, 1976): the Kaplan-Meier product-limit estimator with a Dirichlet process
/// prior, here `guess`. With c its weight, n outcomes, N(x) of them longer than x and d(z) of them censored at z,
///
/// S(x) = (c guess(x) + N(x)) / (c + n) * product over censored z <= x of (c guess(z) + N(z) + d(z)) / (c guess(z) + N(z)),
///
/// which is Kaplan-Meier for c = 0, the guess for n = 0, and never 0 at a finite length.
pub struct Prior {
    family: String,
    window: usize,
    outcomes: VecDeque<Outcome>,
    counts: BTreeMap<u32, Count>,
    seen: u64,
    /// Made when first asked for after an outcome.
    state: OnceCell<(Arc<str>, LengthDistribution)>,
}

impl Prior {
    /// The prior of the model called `name` after the outcomes of `history`; those of `start` count as older than all of these.
    pub fn new(name: &str, start: Option<&WarmStart>, history: &History) -> Self {
        let mut prior = Self {
            family: Self::family(name, start),
            window: start.map_or(OUTCOMES, |start| start.window),
            outcomes: VecDeque::new(),
            counts: BTreeMap::new(),
            seen: history.seen,
            state: OnceCell::new(),
        };
        for outcome in start.into_iter().flat_map(|start| &start.outcomes).chain(&history.recent) {
            prior.push(*outcome);
        }
        prior
    }

    /// First part of the version of a model called `name` with such a start.
    pub fn family(name: &str, start: Option<&WarmStart>) -> String {
        let mark = start.map_or(String::new(), |start| format!("+{}", start.digest));
        format!("{name}/{ALGORITHM}{mark}")
    }

    /// Names its present state: the version of a model that rests on it.
    pub fn state_name(&self) -> Arc<str> {
        self.state().0.clone()
    }

    /// Learns how long a reply was.
    pub fn observe(&mut self, outcome: Outcome) {
        self.seen = self.seen.saturating_add(1);
        self.push(outcome);
        self.state = OnceCell::new();
    }

    /// Outcomes observed.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Outcomes it keeps at most.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Total reply length before anything is known of a request, in tokens.
    pub fn total_length(&self) -> &LengthDistribution {
        &self.state().1
    }

    /// As workers keep it to fall back on.
    pub fn length_prior(&self) -> LengthPrior {
        let total = self.total_length();
        LengthPrior {
            quantiles: total.quantiles(QUANTILE_LEVELS.map(f64::from)).map(|tokens| tokens as f32),
            mean: total.mean() as f32,
            outcomes: self.seen,
        }
    }

    fn push(&mut self, outcome: Outcome) {
        let count = self.counts.entry(outcome.length).or_default();
        if outcome.censored {
            count.censored += 1;
        } else {
            count.ended += 1;
        }
        self.outcomes.push_back(outcome);
        if self.outcomes.len() > self.window
            && let Some(oldest) = self.outcomes.pop_front()
            && let Some(count) = self.counts.get_mut(&oldest.length)
        {
            if oldest.censored {
                count.censored -= 1;
            } else {
                count.ended -= 1;
            }
            if count.ended + count.censored == 0 {
                self.counts.remove(&oldest.length);
            }
        }
    }

    fn state(&self) -> &(Arc<str>, LengthDistribution) {
        self.state.get_or_init(|| (format!("{}:{}", self.family, self.seen).into(), self.estimate()))
    }

    fn estimate(&self) -> LengthDistribution {
        let total = GUESS_WEIGHT + self.outcomes.len() as f64;
        let mut longer = self.outcomes.len() as f64;
        let mut correction = 1.0;
        let mut counts = self.counts.iter().peekable();
        LengthDistribution::from_survival(|tokens| {
            while let Some((length, count)) = counts.next_if(|(length, _)| **length <= tokens) {
                longer -= f64::from(count.ended + count.censored);
                let beyond = GUESS_WEIGHT * guess(*length) + longer;
                correction *= (beyond + f64::from(count.censored)) / beyond;
            }
            (GUESS_WEIGHT * guess(tokens) + longer) / total * correction
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        let outcome = (1u32..16, any::<bool>()).prop_map(|(length, censored)| Outcome::new(length, censored));
        proptest::collection::vec(outcome, 0..60)
    }

    fn after(outcomes: &[Outcome]) -> Prior {
        let mut prior = Prior::new("prior", None, &History::default());
        outcomes.iter().for_each(|outcome| prior.observe(*outcome));
        prior
    }

    /// The formula in the documentation of [`Prior`], term by term.
    fn susarla_van_ryzin(outcomes: &[Outcome], tokens: u32) -> f64 {
        let longer = |x| outcomes.iter().filter(|o| o.length > x).count() as f64;
        let mut survival = (guess(tokens) + longer(tokens)) / (1.0 + outcomes.len() as f64);
        for z in 0..=tokens {
            let censored = outcomes.iter().filter(|o| o.censored && o.length == z).count() as f64;
            survival *= (guess(z) + longer(z) + censored) / (guess(z) + longer(z));
        }
        survival
    }

    fn kaplan_meier(outcomes: &[Outcome], tokens: u32) -> f64 {
        (0..=tokens)
            .map(|t| {
                let at_risk = outcomes.iter().filter(|o| o.length >= t).count().max(1) as f64;
                1.0 - outcomes.iter().filter(|o| o.length == t && !o.censored).count() as f64 / at_risk
            })
            .product()
    }

    #[test]
    fn before_any_outcome_the_guess_rules() {
        let total = after(&[]).total_length().clone();
        assert!((total.mean() - 400.0).abs() < 2.0, "{}", total.mean());
        assert!((total.quantile(0.5) - 165.7).abs() < 1.0, "{}", total.quantile(0.5));
    }

    #[test]
    fn many_outcomes_come_close_to_kaplan_meier() {
        let all: Vec<_> = (0..OUTCOMES as u32).map(|i| Outcome::new(1 + i * 7 % 13, i % 5 == 0)).collect();
        let total = after(&all).total_length().clone();
        for tokens in 1..13 {
            let expected = kaplan_meier(&all, tokens);
            assert!((total.survival(f64::from(tokens)) - expected).abs() < 0.002, "at {tokens}: {expected}");
        }
    }

    #[test]
    fn cut_replies_lengthen_the_forecast_instead_of_shortening_it() {
        let cut = |censored| after(&[Outcome::new(100, censored); 50]).total_length().mean();
        assert!(cut(true) > 400.0 && cut(false) < 110.0, "{} and {}", cut(true), cut(false));
    }

    #[test]
    fn a_reply_longer_than_all_before_is_expected_to_go_on() {
        let prior = after(&[Outcome::new(100, false); 50]);
        let left = prior.total_length().condition(1000).mean();
        assert!((1350.0..1450.0).contains(&left), "{left}");
    }

    #[test]
    fn the_version_counts_the_outcomes() {
        assert_eq!(&*after(&[Outcome::new(3, true); 4]).state_name(), "prior/1:4");
    }

    #[test]
    fn only_the_last_outcomes_of_the_window_count() {
        let mut all = vec![Outcome::new(5000, false); 100];
        all.extend(vec![Outcome::new(10, false); OUTCOMES]);
        let prior = after(&all);
        let fresh = after(&all[100..]);
        assert_eq!(prior.total_length().mean().to_bits(), fresh.total_length().mean().to_bits());
        assert_eq!(prior.counts.len(), 1);
    }

    proptest! {
        #[test]
        fn the_sliding_estimate_equals_the_formula(outcomes in outcomes(), tokens in 1u32..16) {
            let total = after(&outcomes).total_length().clone();
            prop_assert!((total.survival(f64::from(tokens)) - susarla_van_ryzin(&outcomes, tokens)).abs() < 1e-9);
        }

        #[test]
        fn rebuilding_from_history_gives_the_same_bits(outcomes in outcomes()) {
            let mut history = History::default();
            outcomes.iter().for_each(|outcome| history.push(*outcome));
            let (live, rebuilt) = (after(&outcomes), Prior::new("prior", None, &history));
            prop_assert_eq!(live.state_name(), rebuilt.state_name());
            prop_assert_eq!(live.length_prior(), rebuilt.length_prior());
        }
    }
}
