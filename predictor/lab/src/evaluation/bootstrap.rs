//! [`Bootstrap`]: confidence intervals that know that samples of one prompt are alike.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::Judged;

/// Draws behind each interval.
const RESAMPLES: usize = 1000;
const SEED: u64 = 4;

/// Percentile intervals of 95 % from resampled prompts (Efron, Annals of Statistics 7, 1979): whole prompts are drawn, with all their
/// replies. The draws depend on the prompts alone, so intervals of several models rest on the same draws.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    /// For each draw, how often each reply is in it.
    draws: Vec<Vec<f64>>,
}

impl Bootstrap {
    /// Over the prompts of `judged`.
    pub(crate) fn new(judged: &[Judged<'_>]) -> Self {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, one) in judged.iter().enumerate() {
            groups.entry(&one.reply.group).or_default().push(i);
        }
        let groups: Vec<_> = groups.into_values().collect();
        let mut rng = Rng::with_seed(SEED);
        let draw = |_| {
            let mut weights = vec![0.0; judged.len()];
            for _ in 0..groups.len() {
                for reply in &groups[rng.usize(..groups.len())] {
                    weights[*reply] += 1.0;
                }
            }
            weights
        };
        Self { draws: (0..RESAMPLES).map(draw).collect() }
    }

    /// Of a figure that is computed from how often each reply counts; `None` where no draw has it.
    pub(crate) fn interval(&self, figure: impl Fn(&[f64]) -> Option<f64>) -> Option<[f64; 2]> {
        let mut figures: Vec<f64> = self.draws.iter().filter_map(|weights| figure(weights)).collect();
        figures.sort_by(f64::total_cmp);
        let at = |level: f64| figures.get((level * figures.len() as f64) as usize).copied();
        Some([at(0.025)?, at(0.975)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::FinishedReply;
    use eoscast_forecast::judging::testing::reply;

    fn interval_of_the_mean(replies: &[FinishedReply]) -> [f64; 2] {
        let judged: Vec<_> = replies.iter().map(|reply| Judged { reply, answers: vec![], arrival: None }).collect();
        let mean = |weights: &[f64]| {
            let sum: f64 = weights.iter().zip(replies).map(|(w, r)| w * f64::from(r.output_length)).sum();
            Some(sum / weights.iter().sum::<f64>())
        };
        Bootstrap::new(&judged).interval(mean).unwrap()
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_its_standard_error() {
        let replies: Vec<_> =
            (0..400).map(|i| FinishedReply { group: i.to_string(), ..reply(1 + i % 100, 200, true) }).collect();
        let [low, high] = interval_of_the_mean(&replies);
        // Uniform on 1 ..= 100: standard deviation 28.9, of the mean of 400: 1.44.
        assert!((low - (50.5 - 1.96 * 1.44)).abs() < 0.5 && (high - (50.5 + 1.96 * 1.44)).abs() < 0.5, "{low} {high}");
    }

    #[test]
    fn copies_of_a_prompt_add_no_certainty() {
        let alone: Vec<_> =
            (0..50).map(|i| FinishedReply { group: format!("{i:02}"), ..reply(1 + i, 200, true) }).collect();
        let copied: Vec<_> = alone.iter().flat_map(|reply| vec![reply.clone(); 8]).collect();
        assert_eq!(interval_of_the_mean(&alone), interval_of_the_mean(&copied));
    }

    #[test]
    fn there_is_no_interval_of_nothing() {
        assert_eq!(Bootstrap::new(&[]).interval(|weights| weights.first().copied()), None);
    }
}
