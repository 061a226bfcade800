//! [`Permutation`]: what a model loses when a group of features tells of another request.
//!
//! Permutation importance (Breiman, Random Forests, 2001) of groups, at equal age: at every step the group's features are those of a
//! request drawn at random among those with as many tokens, so that the length so far, which a group often tells too, is left as it
//! is. It is a cheap ablation: the model is not trained again, so what another group could stand in for counts as lost.

use serde::{Deserialize, Serialize};

use super::ending::{auroc, cases};
use super::errors::{ReplyErrors, mean_absolute};
use super::lead_time::HORIZON;
use super::rank::{at_progress, tau_b};
use super::trained::reply;
use super::{FinishedReply, Judged};
use eoscast_forecast::features::{FEATURE_NAMES, FeatureRow};
use eoscast_forecast::fitting::sample::Sample;
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::models::LengthModel;
use eoscast_log::prompt::PROMPT_FEATURE_NAMES;
use eoscast_proto::domain::Forecast;

/// Most requests that are looked at: their rows are all in memory, at about 1.2 KB each.
const MOST_REQUESTS: usize = 150;

/// Figures of a model, or how much worse they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    /// Mean absolute error of the median, tokens.
    pub(crate) mae: Option<f64>,
    /// Kendall's tau of the median at half of the reply.
    pub(crate) tau50: Option<f64>,
    /// Of "ends within 16 tokens".
    pub(crate) auroc16: Option<f64>,
}

/// A group of features.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GroupLoss {
    /// Which.
    pub(crate) name: String,
    /// By how much each figure is worse without it: positive where the group is of use.
    pub(crate) lost: Scores,
}

/// What a model loses without groups of features.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Permutation {
    /// The model.
    pub(crate) model: String,
    /// Requests looked at.
    pub(crate) requests: u64,
    /// With all features.
    pub(crate) whole: Scores,
    /// By group, most useful first.
    pub(crate) groups: Vec<GroupLoss>,
}

/// Names of groups, and what names of their features begin with. The tokens so far are in none: age is held.
const GROUPS: [(&str, &[&str]); 9] = [
    ("EOS log-prob and hazard", &["eos_prob", "eos_logprob", "steps_since_eos_prob_max", "hazard"]),
    ("EOS rank", &["eos_rank"]),
    ("entropy", &["entropy"]),
    ("token and top log-prob", &["token_logprob", "top_logprob"]),
    ("sentence-end mass", &["sentence_end", "expected_sentence_ends"]),
    ("newline mass", &["newline", "expected_newlines", "steps_since_newline"]),
    ("repetition", &["repetition"]),
    ("prompt length and limits", &["prompt_length", "max_tokens", "temperature"]),
    ("prompt text", &["prompt_known"]),
];
/// The group that has the features of the prompt's text, too.
const PROMPT_TEXT: &str = "prompt text";
/// Groups of sketches: the feature that says whether there is one, and which of [`SKETCH_NAMES`](eoscast_forecast::features::SKETCH_NAMES).
const SKETCHES: [(&str, &str, &[usize]); 2] =
    [("sketch of the last steps", "sketch_known", &[0, 1]), ("sketch of the prompt", "prompt_sketch_known", &[2])];

/// What is taken from another row.
#[derive(Debug, Clone)]
struct Group {
    name: &'static str,
    columns: Vec<usize>,
    sketches: &'static [usize],
}

fn groups() -> Vec<Group> {
    let of_steps = FEATURE_NAMES.len() - PROMPT_FEATURE_NAMES.len();
    let columns = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..of_steps).filter(|i| matches(FEATURE_NAMES[*i])).collect()
    };
    let named = GROUPS.iter().map(|(name, prefixes)| {
        let mut columns = columns(&|feature| prefixes.iter().any(|prefix| feature.starts_with(prefix)));
        if *name == PROMPT_TEXT {
            columns.extend(of_steps..FEATURE_NAMES.len());
        }
        Group { name, columns, sketches: &[] }
    });
    let sketched = SKETCHES.iter().map(|(name, known, sketches)| Group {
        name,
        columns: columns(&|feature| feature == *known),
        sketches,
    });
    named.chain(sketched).collect()
}

impl Group {
    fn take(&self, row: &mut FeatureRow, other: &FeatureRow) {
        for i in &self.columns {
            row.values[*i] = other.values[*i];
            let bit = 1u64.checked_shl(*i as u32).unwrap_or(0);
            row.unknown = row.unknown & !bit | other.unknown & bit;
        }
        for i in self.sketches {
            row.sketches[*i] = other.sketches[*i];
        }
    }
}

/// Of requests whose steps are all there; `progress` is called after each group with how many there are.
pub(crate) fn permutation(
    model: &dyn LengthModel,
    samples: &[&Sample],
    seed: u64,
    mut progress: impl FnMut(usize),
) -> Permutation {
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = samples.iter().filter(|sample| sample.rows().count() as u32 == sample.length);
    let mut chosen: Vec<&Sample> = whole.copied().collect();
    random.shuffle(&mut chosen);
    chosen.truncate(MOST_REQUESTS);
    let rows: Vec<Vec<FeatureRow>> = chosen.iter().map(|sample| sample.rows().collect()).collect();
    let replies: Vec<FinishedReply> = chosen.iter().map(|sample| reply(sample, String::new())).collect();
    let whole = scores(model, &rows, &replies, None, &mut random);
    let all = groups();
    let count = all.len();
    let mut groups: Vec<GroupLoss> = all
        .into_iter()
        .map(|group| {
            let without = scores(model, &rows, &replies, Some(&group), &mut random);
            progress(count);
            let lost = |with: Option<f64>, without: Option<f64>| Some(with? - without?);
            let lost = Scores {
                mae: lost(without.mae, whole.mae),
                tau50: lost(whole.tau50, without.tau50),
                auroc16: lost(whole.auroc16, without.auroc16),
            };
            GroupLoss { name: group.name.to_owned(), lost }
        })
        .collect();
    groups.sort_by(|a, b| b.lost.mae.unwrap_or(0.0).total_cmp(&a.lost.mae.unwrap_or(0.0)));
    Permutation { model: model.name().to_owned(), requests: chosen.len() as u64, whole, groups }
}

fn scores(
    model: &dyn LengthModel,
    rows: &[Vec<FeatureRow>],
    replies: &[FinishedReply],
    group: Option<&Group>,
    random: &mut fastrand::Rng,
) -> Scores {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let judge = |(i, reply): (usize, _)| {
        random.shuffle(&mut order);
        let mut donors = order.iter().filter(|donor| **donor != i);
        let mut donor = donors.next();
        let mut memory = model.memory();
        let answers = rows[i].iter().enumerate().map(|(t, row)| {
            let mut row = row.clone();
            while donor.is_some_and(|donor| rows[*donor].len() <= t) {
                donor = donors.next();
            }
            if let (Some(group), Some(donor)) = (group, donor) {
                group.take(&mut row, &rows[*donor][t]);
            }
            forecast(model, &row, &mut memory).remaining
        });
        let answers: Vec<Forecast> = answers.collect();
        Judged::new(reply, |t| answers[t as usize])
    };
    let judged: Vec<Judged<'_>> = replies.iter().enumerate().map(judge).collect();
    Scores {
        mae: mean_absolute(&ReplyErrors::of(&judged), &vec![1.0; judged.len()]),
        tau50: tau_b(at_progress(&judged, 50, Forecast::median)),
        auroc16: auroc(&cases(&judged, HORIZON), |case| case.weight),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use eoscast_forecast::distribution::LengthDistribution;
    use eoscast_forecast::features::SKETCH_NAMES;
    use eoscast_forecast::fitting::synthetic::dataset;
    use eoscast_forecast::history::History;
    use eoscast_forecast::models::{Memory, ModelKind, Prior};
    use eoscast_log::record::Outcome;

    #[test]
    fn every_feature_but_the_tokens_so_far_is_in_one_group() {
        let groups = groups();
        for (i, name) in FEATURE_NAMES.iter().enumerate() {
            let count = groups.iter().filter(|group| group.columns.contains(&i)).count();
            assert_eq!(count, usize::from(!matches!(*name, "step" | "step_ln")), "{name}");
        }
        let mut sketches: Vec<usize> = groups.iter().flat_map(|group| group.sketches).copied().collect();
        sketches.sort_unstable();
        assert_eq!(sketches, (0..SKETCH_NAMES.len()).collect::<Vec<_>>());
    }

    /// Reads what is left off the EOS log-probability, as the synthetic requests have it, and sees nothing else.
    struct ByEos(Box<dyn LengthModel>);

    impl LengthModel for ByEos {
        fn name(&self) -> &'static str {
            "by-eos"
        }

        fn version(&self) -> Arc<str> {
            "by-eos/1:0".into()
        }

        fn predict(&self, row: &FeatureRow, _: &mut Memory) -> LengthDistribution {
            let column = FEATURE_NAMES.iter().position(|name| *name == "eos_logprob").unwrap();
            let left = (-(row.values[column] + 0.5) / 2.0).exp() - 1.0;
            LengthDistribution::point(left.round() as u32)
        }

        fn observe(&mut self, _: Outcome) {}

        fn prior(&self) -> &Prior {
            self.0.prior()
        }
    }

    #[test]
    fn what_a_model_rests_on_is_lost_and_what_it_does_not_see_is_not() {
        let data = dataset(100, 4);
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let model = ByEos(ModelKind::Prior.build(None, &History::default()));
        let found = permutation(&model, &samples, 1, |_| {});
        let lost = |name: &str| found.groups.iter().find(|group| group.name == name).unwrap().lost;
        let eos = lost("EOS log-prob and hazard");
        assert!(eos.mae > Some(3.0) && eos.tau50 > Some(0.1) && eos.auroc16 > Some(0.1), "{found:?}");
        for group in found.groups.iter().filter(|group| group.name != "EOS log-prob and hazard") {
            assert_eq!(group.lost, Scores { mae: Some(0.0), tau50: Some(0.0), auroc16: Some(0.0) }, "{}", group.name);
        }
        assert!(found.groups.is_sorted_by(|a, b| a.lost.mae >= b.lost.mae));
        let again = permutation(&model, &samples, 1, |_| {});
        assert_eq!(again.groups[0].lost, found.groups[0].lost);
        let nothing = permutation(&model, &[], 1, |_| {});
        assert_eq!((nothing.requests, nothing.whole.mae), (0, None));
    }
}
