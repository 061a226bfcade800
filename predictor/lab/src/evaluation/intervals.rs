//! Coverage and width of prediction intervals of service remaining length.

use serde::{Deserialize, Serialize};

use super::weight::{age_bin, by_bin, by_bin_of_steps, overall, progress_bin};
use super::{FinishedReply, Judged};
use eoscast_proto::domain::Forecast;

/// Intervals of one nominal share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IntervalScores {
    /// Share of truths within [`Forecast::interval`].
    pub(crate) coverage: Option<f64>,
    /// The same by tokens generated so far.
    pub(crate) coverage_by_age: [Option<f64>; 5],
    /// The same where every step weighs one; see [`by_bin_of_steps`].
    pub(crate) coverage_of_steps_by_age: [Option<f64>; 5],
    /// The same by progress.
    pub(crate) coverage_by_bin: [Option<f64>; 5],
    /// Mean width, in tokens.
    pub(crate) width: Option<f64>,
    /// The same by tokens generated so far.
    pub(crate) width_by_age: [Option<f64>; 5],
    /// The same by progress.
    pub(crate) width_by_bin: [Option<f64>; 5],
}

/// 1 where the interval that is to hold the truth with probability `share` does, else 0.
pub(crate) fn covered(share: f64) -> impl Fn(&FinishedReply, u32, &Forecast) -> f64 + Copy {
    move |reply, t, answer| {
        let ((low, high), truth) = (answer.interval(share, reply.cap(t)), f64::from(reply.remaining(t)));
        f64::from(u8::from(low <= truth && truth <= high))
    }
}

impl IntervalScores {
    /// Of the intervals that are to hold the truth with probability `share`.
    pub(crate) fn of(judged: &[Judged<'_>], share: f64) -> Self {
        let covered = covered(share);
        let width = |reply: &FinishedReply, t: u32, answer: &Forecast| {
            let (low, high) = answer.interval(share, reply.cap(t));
            high - low
        };
        Self {
            coverage: overall(judged, covered),
            coverage_by_age: by_bin(judged, age_bin, covered),
            coverage_of_steps_by_age: by_bin_of_steps(judged, age_bin, covered),
            coverage_by_bin: by_bin(judged, progress_bin, covered),
            width: overall(judged, width),
            width_by_age: by_bin(judged, age_bin, width),
            width_by_bin: by_bin(judged, progress_bin, width),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_forecast::judging::testing::{knows_the_law, uniform_replies};

    #[test]
    fn intervals_of_a_forecaster_who_knows_the_law_hold_what_they_should_at_every_age() {
        let replies = uniform_replies(400, 400, 1000);
        let judged = knows_the_law(&replies, 400);
        for share in [0.5, 0.8, 0.9] {
            let scores = IntervalScores::of(&judged, share);
            for coverage in scores.coverage_of_steps_by_age.into_iter().flatten() {
                assert!((coverage - share).abs() < 0.02, "{share}: {scores:?}");
            }
            assert!((scores.coverage_by_age[0].unwrap() - share).abs() < 0.02, "{share}: {scores:?}");
            let width = scores.width_by_age[0].unwrap();
            assert!((width - 396.0 * share).abs() < 4.0, "{share}: {width}");
        }
    }

    #[test]
    fn what_is_cut_within_the_interval_is_covered() {
        let replies = uniform_replies(400, 400, 160);
        let scores = IntervalScores::of(&knows_the_law(&replies, 400), 0.8);
        assert!((scores.coverage_by_age[0].unwrap() - 0.9).abs() < 0.02, "{scores:?}");
    }

    #[test]
    fn a_wrong_point_covers_nothing() {
        let replies = uniform_replies(20, 100, 200);
        let judged: Vec<_> = replies.iter().map(|r| Judged::new(r, |_| Forecast::point(150.0))).collect();
        let scores = IntervalScores::of(&judged, 0.9);
        assert_eq!((scores.coverage, scores.width), (Some(0.0), Some(0.0)));
    }
}
