//! "Ends within k tokens" as a classifier of steps, on natural length. Steps whose label a cut hides are left out.

use eoscast_proto::domain::END_WITHIN;
use serde::{Deserialize, Serialize};

use super::Judged;

/// How well "ends within k" is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EndingScores {
    /// Share of steps of which it is true.
    pub(crate) share: Option<f64>,
    /// Mean of (probability - label) squared (Brier, Monthly Weather Review 78, 1950).
    pub(crate) brier: Option<f64>,
    /// Area under the receiver operating characteristic: P(score of a true step > score of a false one), ties count half.
    pub(crate) auroc: Option<f64>,
    /// Precision averaged over recall.
    pub(crate) average_precision: Option<f64>,
}

/// A step: what was said of it, and what was true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Higher where the end is thought nearer.
    pub(crate) score: f64,
    /// The reply does end.
    pub(crate) positive: bool,
    /// 1 / steps of the reply with a label.
    pub(crate) weight: f64,
    /// Number of the reply.
    pub(crate) reply: usize,
}

/// The steps with a label for [`END_WITHIN`]`[horizon]`, highest scores first.
pub(crate) fn cases(judged: &[Judged<'_>], horizon: usize) -> Vec<Case> {
    let k = END_WITHIN[horizon];
    let mut cases = vec![];
    for (reply, one) in judged.iter().enumerate() {
        let first = cases.len();
        cases.extend(one.steps().filter_map(|(t, answer)| {
            let positive = one.reply.ends_within(t, k)?;
            Some(Case { score: f64::from(answer.end_within[horizon]), positive, weight: 1.0, reply })
        }));
        let weight = 1.0 / (cases.len() - first).max(1) as f64;
        cases[first..].iter_mut().for_each(|case| case.weight = weight);
    }
    sort(&mut cases);
    cases
}

/// Puts the highest scores first.
pub(crate) fn sort(cases: &mut [Case]) {
    cases.sort_by(|a, b| b.score.total_cmp(&a.score));
}

impl EndingScores {
    /// Of sorted `cases`, whose scores are probabilities.
    pub(crate) fn of(cases: &[Case]) -> Self {
        let total: f64 = cases.iter().map(|case| case.weight).sum();
        let mean = |value: fn(&Case) -> f64| {
            (total > 0.0).then(|| cases.iter().map(|case| case.weight * value(case)).sum::<f64>() / total)
        };
        Self {
            share: mean(|case| f64::from(u8::from(case.positive))),
            brier: mean(|case| (case.score - f64::from(u8::from(case.positive))).powi(2)),
            auroc: auroc(cases, |case| case.weight),
            average_precision: average_precision(cases),
        }
    }
}

/// Area under the receiver operating characteristic of sorted `cases`; `None` unless both labels are there.
pub(crate) fn auroc(cases: &[Case], weight: impl Fn(&Case) -> f64) -> Option<f64> {
    let (mut positives, mut negatives, mut area) = (0.0, 0.0, 0.0);
    for tied in cases.chunk_by(|a, b| a.score == b.score) {
        let (mut up, mut down) = (0.0, 0.0);
        for case in tied {
            *(if case.positive { &mut up } else { &mut down }) += weight(case);
        }
        area += down * (positives + up / 2.0);
        positives += up;
        negatives += down;
    }
    (positives * negatives > 0.0).then(|| area / (positives * negatives))
}

/// The sum of precision x gain in recall, threshold by threshold, of sorted `cases`; `None` without positive ones.
fn average_precision(cases: &[Case]) -> Option<f64> {
    let (mut positives, mut all, mut sum) = (0.0, 0.0, 0.0);
    for tied in cases.chunk_by(|a, b| a.score == b.score) {
        let up: f64 = tied.iter().filter(|case| case.positive).map(|case| case.weight).sum();
        positives += up;
        all += tied.iter().map(|case| case.weight).sum::<f64>();
        sum += up * positives / all;
    }
    (positives > 0.0).then(|| sum / positives)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use eoscast_forecast::judging::testing::reply;
    use eoscast_proto::domain::Forecast;

    const WITHIN_16: usize = 2;

    #[test]
    fn a_cut_hides_only_the_last_labels() {
        let (cut, ended) = (reply(20, 20, false), reply(20, 30, true));
        assert_eq!([0, 4, 5, 19].map(|t| cut.ends_within(t, 16)), [Some(false), Some(false), None, None]);
        assert_eq!([0, 3, 4, 19].map(|t| ended.ends_within(t, 16)), [Some(false), Some(false), Some(true), Some(true)]);
        let judged = [Judged::new(&cut, |_| Forecast::point(1.0))];
        assert_eq!(cases(&judged, WITHIN_16).len(), 5);
    }

    #[test]
    fn average_precision_by_hand() {
        let case = |score, positive| Case { score, positive, weight: 1.0, reply: 0 };
        let cases = [case(0.9, true), case(0.8, false), case(0.7, true), case(0.1, false)];
        let scores = EndingScores::of(&cases);
        assert_eq!(scores.average_precision, Some((1.0 + 2.0 / 3.0) / 2.0));
        assert_eq!((scores.auroc, scores.share), (Some(0.75), Some(0.5)));
        assert!((scores.brier.unwrap() - (0.01 + 0.64 + 0.09 + 0.01) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn what_was_never_seen_has_no_score() {
        let scores = EndingScores::of(&[]);
        assert!(scores.auroc.is_none() && scores.brier.is_none() && scores.average_precision.is_none());
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_pairs_in_order(
            drawn in proptest::collection::vec((0u8..6, any::<bool>(), 1u8..4), 0..40),
        ) {
            let mut cases: Vec<_> = drawn
                .into_iter()
                .map(|(score, positive, weight)| Case { score: score.into(), positive, weight: weight.into(), reply: 0 })
                .collect();
            sort(&mut cases);
            let (mut right, mut all) = (0.0, 0.0);
            for (a, b) in cases.iter().flat_map(|a| cases.iter().map(move |b| (a, b))) {
                if a.positive && !b.positive {
                    let weight = a.weight * b.weight;
                    all += weight;
                    right += weight * if a.score > b.score { 1.0 } else if a.score == b.score { 0.5 } else { 0.0 };
                }
            }
            match auroc(&cases, |case| case.weight) {
                Some(area) => prop_assert!((area - right / all).abs() < 1e-12, "{area} against {}", right / all),
                None => prop_assert_eq!(all, 0.0),
            }
        }
    }
}
