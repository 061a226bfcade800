//! Errors of points, and pinball loss, on service remaining length.
//!
//! A score can be trusted to rank forecasters only with the functional it is proper for (Gneiting, Making and Evaluating Point
//! Forecasts, JASA 106, 2011): absolute errors are taken of the median, squared errors (R2) and bias of the mean.

use eoscast_proto::domain::QUANTILE_LEVELS;

use super::answer::Answer;
use super::weight::{overall, weighted_median};
use super::{FinishedReply, Judged};

/// |median - truth|, in tokens.
pub fn absolute(reply: &FinishedReply, t: u32, answer: &Answer) -> f64 {
    (answer.median() - f64::from(reply.remaining(t))).abs()
}

/// mean - truth, in tokens: above 0 where forecasts are too long.
pub fn signed(reply: &FinishedReply, t: u32, answer: &Answer) -> f64 {
    f64::from(answer.mean) - f64::from(reply.remaining(t))
}

/// Means over the steps of one reply: what mean absolute error and R2 are made of.
#[derive(Debug, Clone, Copy)]
pub struct ReplyErrors {
    absolute: f64,
    squared: f64,
    truth: f64,
    truth_squared: f64,
}

impl ReplyErrors {
    /// Of each reply, in order; replies without tokens have no errors.
    pub fn of(judged: &[Judged<'_>]) -> Vec<Self> {
        let one = |one: &Judged<'_>| {
            let mut errors = Self { absolute: 0.0, squared: 0.0, truth: 0.0, truth_squared: 0.0 };
            let steps = one.answers.len().max(1) as f64;
            for (t, answer) in one.steps() {
                let truth = f64::from(one.reply.remaining(t));
                errors.absolute += absolute(one.reply, t, answer) / steps;
                errors.squared += signed(one.reply, t, answer).powi(2) / steps;
                errors.truth += truth / steps;
                errors.truth_squared += truth * truth / steps;
            }
            errors
        };
        judged.iter().map(one).collect()
    }
}

/// Mean absolute error of the median, reply `i` counted `weights[i]` times. In tokens.
pub fn mean_absolute(errors: &[ReplyErrors], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let sum: f64 = errors.iter().zip(weights).map(|(error, weight)| weight * error.absolute).sum();
    (total > 0.0).then(|| sum / total)
}

/// 1 - (squared error of the mean) / (spread of the truth), reply `i` counted `weights[i]` times; `None` where nothing spreads.
pub fn r2(errors: &[ReplyErrors], weights: &[f64]) -> Option<f64> {
    let total: f64 = weights.iter().sum();
    let average = |value: fn(&ReplyErrors) -> f64| {
        errors.iter().zip(weights).map(|(error, weight)| weight * value(error)).sum::<f64>() / total
    };
    let spread = average(|e| e.truth_squared) - average(|e| e.truth).powi(2);
    (spread > 1e-9).then(|| 1.0 - average(|e| e.squared) / spread)
}

/// Median of the absolute error of the median, over all steps. In tokens.
pub fn median_absolute(judged: &[Judged<'_>]) -> Option<f64> {
    let steps = |one: &Judged<'_>| {
        let weight = 1.0 / one.answers.len().max(1) as f64;
        let reply = one.reply.clone();
        one.steps().map(|(t, answer)| (absolute(&reply, t, answer), weight)).collect::<Vec<_>>()
    };
    weighted_median(judged.iter().flat_map(steps).collect())
}

/// Pinball loss averaged over [`QUANTILE_LEVELS`], in tokens: proper for all of them together (Koenker and Bassett, Econometrica 46,
/// 1978). Twice this is nearly the continuous ranked probability score.
pub fn pinball(judged: &[Judged<'_>]) -> Option<f64> {
    overall(judged, |reply, t, answer| {
        let truth = f64::from(reply.remaining(t));
        let loss = |(level, quantile): (f32, f32)| {
            let above = truth - f64::from(quantile);
            (f64::from(level) * above).max((f64::from(level) - 1.0) * above)
        };
        QUANTILE_LEVELS.into_iter().zip(answer.quantiles).map(loss).sum::<f64>() / QUANTILE_LEVELS.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::testing::{knows_the_law, reply, uniform_replies};

    #[test]
    fn errors_of_two_replies_by_hand() {
        let (a, b) = (reply(2, 10, true), reply(4, 10, true));
        // Truth 2, 1 and 4, 3, 2, 1; always said: 3. Absolute errors 1, 2 and 1, 0, 1, 2.
        let judged = [Judged::new(&a, |_| Answer::point(3.0)), Judged::new(&b, |_| Answer::point(3.0))];
        let errors = ReplyErrors::of(&judged);
        assert_eq!(mean_absolute(&errors, &[1.0, 1.0]), Some(1.25));
        assert_eq!(mean_absolute(&errors, &[3.0, 1.0]), Some(1.375));
        assert_eq!(median_absolute(&judged), Some(1.0));
        assert_eq!(overall(&judged, signed), Some(1.0));
        // Squared errors 2.5 and 1.5; truths 1.5 and 2.5, their squares 2.5 and 7.5: spread 5 - 4.
        assert_eq!(r2(&errors, &[1.0, 1.0]), Some(-1.0));
        // Pinball of a point: half of the absolute error on average over symmetric levels.
        assert!((pinball(&judged).unwrap() - 0.625).abs() < 1e-6);
    }

    #[test]
    fn the_truth_has_no_error_and_what_never_spreads_has_no_r2() {
        let replies = uniform_replies(50, 300, 200);
        let judged: Vec<_> = replies.iter().map(|r| Judged::new(r, |t| Answer::point(r.remaining(t) as f32))).collect();
        let (errors, weights) = (ReplyErrors::of(&judged), vec![1.0; 50]);
        assert_eq!((mean_absolute(&errors, &weights), r2(&errors, &weights)), (Some(0.0), Some(1.0)));
        let one = [reply(1, 10, true)];
        assert_eq!(r2(&ReplyErrors::of(&knows_the_law(&one, 9)), &[1.0]), None);
        assert_eq!(mean_absolute(&[], &[]), None);
    }
}
