//! Reliability: how often what was given a probability comes true. Every forecast weighs one here, since only then does a forecaster
//! that knows the law of lengths lie on the diagonal; see [`by_bin_of_steps`](super::weight::by_bin_of_steps).

use eoscast_proto::domain::{QUANTILE_LEVELS, whole_tokens};
use serde::{Deserialize, Serialize};

use super::Judged;
use super::ending::Case;

/// Groups of forecasts of equal width.
const GROUPS: usize = 20;

/// Forecasts of about the same probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reliability {
    /// Mean forecast.
    pub(crate) forecast: f64,
    /// Share that came true.
    pub(crate) observed: f64,
    /// Share of all forecasts.
    pub(crate) weight: f64,
}

/// At each of [`QUANTILE_LEVELS`], the share of truths at or below the quantile.
///
/// Only quantiles below the most a reply can have are asked: no truth lies above that, so there is nothing to see. A forecaster
/// that is calibrated is so among the others, since which these are is part of the forecast.
pub(crate) fn of_quantiles(judged: &[Judged<'_>]) -> [Option<Reliability>; QUANTILE_LEVELS.len()] {
    std::array::from_fn(|i| {
        let (mut below, mut asked, mut all) = (0u64, 0u64, 0u64);
        for one in judged {
            for (t, answer) in one.steps() {
                all += 1;
                let quantile = whole_tokens(f64::from(answer.quantiles[i]));
                if quantile < f64::from(one.reply.cap(t)) {
                    asked += 1;
                    below += u64::from(f64::from(one.reply.remaining(t)) <= quantile);
                }
            }
        }
        (asked > 0).then(|| Reliability {
            forecast: f64::from(QUANTILE_LEVELS[i]),
            observed: below as f64 / asked as f64,
            weight: asked as f64 / all as f64,
        })
    })
}

/// Of probabilities of an end, in groups of equal width; empty groups are left out.
pub(crate) fn of_endings(cases: &[Case]) -> Vec<Reliability> {
    let mut groups = [(0.0, 0.0, 0.0); GROUPS];
    for case in cases {
        let group = ((case.score * GROUPS as f64) as usize).min(GROUPS - 1);
        let (forecast, observed, count) = &mut groups[group];
        *forecast += case.score;
        *observed += f64::from(u8::from(case.positive));
        *count += 1.0;
    }
    let group = |(forecast, observed, count): (f64, f64, f64)| {
        (count > 0.0).then(|| Reliability {
            forecast: forecast / count,
            observed: observed / count,
            weight: count / cases.len() as f64,
        })
    };
    groups.into_iter().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_forecast::judging::testing::{knows_the_law, uniform_replies};

    #[test]
    fn quantiles_of_who_knows_the_law_are_kept_even_where_replies_are_cut() {
        let replies = uniform_replies(300, 300, 180);
        for point in of_quantiles(&knows_the_law(&replies, 300)).into_iter().flatten() {
            assert!((point.observed - point.forecast).abs() < 0.03, "{point:?}");
        }
    }

    #[test]
    fn forecasts_of_the_same_size_are_compared_with_what_came() {
        let case = |score, positive| Case { score, positive, weight: 1.0, reply: 0 };
        let points = of_endings(&[case(0.01, false), case(0.03, true), case(1.0, true)]);
        assert_eq!(points.len(), 2);
        assert!((points[0].forecast - 0.02).abs() < 1e-12 && points[0].observed == 0.5, "{points:?}");
        assert_eq!((points[1].observed, points[1].weight), (1.0, 1.0 / 3.0));
    }
}
