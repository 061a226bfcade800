//! `threshold`: the rule "EOS probability above 0.5, or above 0.3 on average -> about to end".

use std::sync::Arc;

use eoscast_log::record::Outcome;

use super::forecaster::Memory;
use super::length_model::LengthModel;
use super::prior::Prior;
use super::warm_start::WarmStart;
use crate::distribution::LengthDistribution;
use crate::features::FeatureRow;
use crate::history::History;

/// Name of the model.
pub(super) const NAME: &str = "threshold";

const ABOUT_TO_END: f32 = 0.5;
const ABOUT_TO_END_ON_AVERAGE: f32 = 0.3;

/// The rule as a distribution: where it holds, every further token ends the reply with the probability that made it hold (a
/// geometric distribution with a mean of at most 3.3 tokens); elsewhere the prior.
struct Threshold {
    prior: Prior,
}

/// The rule on top of the prior, after the outcomes of `history`.
pub(super) fn build(start: Option<&WarmStart>, history: &History) -> Box<dyn LengthModel> {
    Box::new(Threshold { prior: Prior::new(NAME, start, history) })
}

impl LengthModel for Threshold {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Arc<str> {
        self.prior.state_name()
    }

    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> LengthDistribution {
        let (now, mean) = (row.eos_prob(), row.eos_prob_mean());
        if now > ABOUT_TO_END || mean > ABOUT_TO_END_ON_AVERAGE {
            let goes_on = 1.0 - f64::from(now.max(mean)).min(1.0);
            return LengthDistribution::from_survival(|tokens| goes_on.powi(tokens as i32));
        }
        self.prior.predict(row, memory)
    }

    fn observe(&mut self, outcome: Outcome) {
        self.prior.observe(outcome);
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }
}

#[cfg(test)]
mod tests {
    use eoscast_log::record::Arrival;
    use eoscast_proto::domain::{StepEvent, StepSignals};

    use super::*;
    use crate::features::FeatureState;
    use crate::models::ModelKind;

    fn expected_tokens(eos_probs: &[f32]) -> f64 {
        let model = ModelKind::Threshold.build(None, &History::default());
        let mut state = FeatureState::new(Arrival::for_test(), 0);
        for (i, eos_prob) in eos_probs.iter().enumerate() {
            let signals = StepSignals {
                eos_logprob: eos_prob.ln(),
                eos_logprob_sampled: eos_prob.ln(),
                ..StepSignals::for_test()
            };
            state.observe(&StepEvent { step: i as u32 + 1, signals, ..StepEvent::for_test("r") });
        }
        model.predict(&state.row(), &mut model.memory()).mean()
    }

    #[test]
    fn a_high_eos_probability_means_the_end_is_near() {
        assert!((expected_tokens(&[0.01, 0.8]) - 1.25).abs() < 1e-6);
    }

    #[test]
    fn a_high_average_means_the_end_is_near() {
        assert!(expected_tokens(&[0.4, 0.4]) < 3.0);
    }

    #[test]
    fn otherwise_the_prior_answers() {
        assert!(expected_tokens(&[0.1, 0.2]) > 300.0);
    }
}
