//! Averages in which every reply weighs one, whatever its length.

use super::answer::Answer;
use super::{FinishedReply, Judged};
use crate::age::age;

/// The bins of progress, t / length, as tables name them.
pub const PROGRESS_NAMES: [&str; 5] = ["0-20 %", "20-40 %", "40-60 %", "60-80 %", "80-100 %"];

/// The [age](crate::age) after `t` tokens. It is known when a forecast is made, so calibration can be held in each.
pub fn age_bin(_: &FinishedReply, t: u32) -> usize {
    age(t)
}

/// Bin of progress after `t` tokens. Progress is an outcome, so no forecaster can be calibrated in each.
pub fn progress_bin(reply: &FinishedReply, t: u32) -> usize {
    let fifth = 5 * u64::from(t) / u64::from(reply.output_length.max(1));
    fifth.min(4) as usize
}

/// A mean over replies of what was averaged within each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Average {
    sum: f64,
    replies: u32,
}

impl Average {
    /// Adds the mean of `values` of one reply; nothing if there are none.
    pub fn push(&mut self, values: impl Iterator<Item = f64>) {
        let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
        if count > 0 {
            self.sum += sum / f64::from(count);
            self.replies += 1;
        }
    }

    /// The mean; `None` without replies.
    pub fn mean(&self) -> Option<f64> {
        (self.replies > 0).then(|| self.sum / f64::from(self.replies))
    }
}

/// The mean of `value` in each bin, over the replies that reach it.
pub fn by_bin(
    judged: &[Judged<'_>],
    bin: impl Fn(&FinishedReply, u32) -> usize,
    value: impl Fn(&FinishedReply, u32, &Answer) -> f64,
) -> [Option<f64>; 5] {
    let mut averages = [Average::default(); 5];
    for means in each_by_bin(judged, bin, value) {
        averages.iter_mut().zip(means).for_each(|(average, mean)| average.push(mean.into_iter()));
    }
    averages.map(|average| average.mean())
}

/// The mean of `value` in each bin of each reply; `None` where it has no step.
pub fn each_by_bin(
    judged: &[Judged<'_>],
    bin: impl Fn(&FinishedReply, u32) -> usize,
    value: impl Fn(&FinishedReply, u32, &Answer) -> f64,
) -> Vec<[Option<f64>; 5]> {
    let means = |one: &Judged<'_>| {
        let mut sums = [(0.0, 0u32); 5];
        for (t, answer) in one.steps() {
            let (sum, count) = &mut sums[bin(one.reply, t)];
            *sum += value(one.reply, t, answer);
            *count += 1;
        }
        sums.map(|(sum, count)| (count > 0).then(|| sum / f64::from(count)))
    };
    judged.iter().map(means).collect()
}

/// The mean of the values there are, each counted with its weight; `None` where nothing counts.
pub fn weighted_mean(values: impl Iterator<Item = (Option<f64>, f64)>) -> Option<f64> {
    let known = values.filter_map(|(value, weight)| Some((value?, weight)));
    let (sum, total) = known.fold((0.0, 0.0), |(sum, total), (value, weight)| (sum + value * weight, total + weight));
    (total > 0.0).then(|| sum / total)
}

/// The mean of `value` in each bin, where every step of every reply weighs one.
///
/// A forecaster that knows the law of lengths is calibrated in this sense at every age, but not when every reply weighs one: weights
/// that fall with the length are known only after the end, and count the replies that end soon more than it could expect.
pub fn by_bin_of_steps(
    judged: &[Judged<'_>],
    bin: impl Fn(&FinishedReply, u32) -> usize,
    value: impl Fn(&FinishedReply, u32, &Answer) -> f64,
) -> [Option<f64>; 5] {
    let mut sums = [(0.0, 0u64); 5];
    for one in judged {
        for (t, answer) in one.steps() {
            let (sum, count) = &mut sums[bin(one.reply, t)];
            *sum += value(one.reply, t, answer);
            *count += 1;
        }
    }
    sums.map(|(sum, count)| (count > 0).then(|| sum / count as f64))
}

/// The mean of `value` over all steps, averaged within each reply.
pub fn overall(judged: &[Judged<'_>], value: impl Fn(&FinishedReply, u32, &Answer) -> f64) -> Option<f64> {
    let mut average = Average::default();
    for one in judged {
        average.push(one.steps().map(|(t, answer)| value(one.reply, t, answer)));
    }
    average.mean()
}

/// The value with half of the weight on each side; `None` without values.
pub fn weighted_median(mut values: Vec<(f64, f64)>) -> Option<f64> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut seen = 0.0;
    values
        .iter()
        .find(|(_, weight)| {
            seen += weight;
            seen >= half
        })
        .map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::testing::reply;

    #[test]
    fn bins_begin_where_they_say() {
        let reply = reply(10, 100, true);
        assert_eq!([0, 15, 16, 63, 64, 128, 255, 256, 9999].map(|t| age_bin(&reply, t)), [0, 0, 1, 1, 2, 3, 3, 4, 4]);
        assert_eq!([0, 1, 2, 5, 9].map(|t| progress_bin(&reply, t)), [0, 0, 1, 2, 4]);
    }

    #[test]
    fn a_long_reply_weighs_no_more_than_a_short_one() {
        let (short, long) = (reply(1, 100, true), reply(99, 100, true));
        let judged = [Judged::new(&short, |_| Answer::point(0.0)), Judged::new(&long, |_| Answer::point(1.0))];
        assert_eq!(overall(&judged, |_, _, answer| f64::from(answer.mean)), Some(0.5));
        assert_eq!(
            by_bin(&judged, age_bin, |_, _, answer| f64::from(answer.mean)),
            [Some(0.5), Some(1.0), Some(1.0), None, None]
        );
    }

    #[test]
    fn half_of_the_weight_lies_below_the_median() {
        assert_eq!(weighted_median(vec![(1.0, 1.0), (9.0, 5.0), (2.0, 1.0)]), Some(9.0));
        assert_eq!(weighted_median(vec![]), None);
    }
}
