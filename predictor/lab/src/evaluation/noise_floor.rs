//! The noise floor: how well replies could be forecast by who knows each prompt's own distribution of lengths.
//!
//! What is left of the error then is the sampling itself, which nothing seen before the end can tell. The distribution is estimated
//! from the other samples of the prompt, so that the floor is somewhat too high: with m of them, squared errors by about 1 / m.

use std::collections::HashMap;

use eoscast_proto::domain::{END_WITHIN, Forecast, QUANTILE_LEVELS};

use super::{FinishedReply, Judged};

/// What all other prompts together weigh beside one sample of the prompt itself, so that there is an answer when no sample is as
/// long as the reply already is. The posterior mean of a Dirichlet process with this concentration (Ferguson, Annals of
/// Statistics 1, 1973).
const CONCENTRATION: f64 = 1.0;

/// Judges the replies whose prompt has other samples; the others have no floor.
pub(crate) fn noise_floor(replies: &[FinishedReply]) -> Vec<Judged<'_>> {
    let mut groups: HashMap<&str, u32> = HashMap::new();
    for reply in replies {
        *groups.entry(&reply.group).or_default() += 1;
    }
    let mut sorted: Vec<&FinishedReply> = replies.iter().collect();
    sorted.sort_by_key(|reply| reply.output_length);
    let several = |reply: &&FinishedReply| groups.get(reply.group.as_str()).is_some_and(|samples| *samples > 1);
    replies.iter().filter(several).map(|reply| judge(reply, &sorted)).collect()
}

/// Answers from all but `reply` itself, conditioned on the length so far; `sorted` are all replies, shortest first.
fn judge<'a>(reply: &'a FinishedReply, sorted: &[&FinishedReply]) -> Judged<'a> {
    let others: Vec<&FinishedReply> = sorted.iter().copied().filter(|other| !std::ptr::eq(*other, reply)).collect();
    Judged::new(reply, |t| {
        let longer = &others[others.partition_point(|other| other.output_length <= t)..];
        let strangers = longer.iter().filter(|other| other.group != reply.group).count();
        let weight = |other: &FinishedReply| {
            if other.group == reply.group { 1.0 } else { CONCENTRATION / strangers as f64 }
        };
        let remaining: Vec<_> = longer.iter().map(|other| (other.remaining(t), other.ended, weight(other))).collect();
        weighted(&remaining)
    })
}

/// The distribution of `(tokens, ends by itself, weight)`, fewest tokens first; of nothing, one token.
fn weighted(lengths: &[(u32, bool, f64)]) -> Forecast {
    let total: f64 = lengths.iter().map(|(_, _, weight)| weight).sum();
    if total <= 0.0 {
        return Forecast::point(1.0);
    }
    let (mut seen, mut mean, mut level) = (0.0, 0.0, 0);
    let mut quantiles = [0.0; QUANTILE_LEVELS.len()];
    let mut end_within = [0.0; END_WITHIN.len()];
    for (tokens, ended, weight) in lengths {
        let share = weight / total;
        mean += share * f64::from(*tokens);
        seen += share;
        // The last length is every quantile that rounding has left open.
        while level < quantiles.len() && seen + 1e-9 >= f64::from(QUANTILE_LEVELS[level]) {
            quantiles[level] = *tokens as f32;
            level += 1;
        }
        for (probability, k) in end_within.iter_mut().zip(END_WITHIN) {
            *probability += if *ended && *tokens <= k { share as f32 } else { 0.0 };
        }
    }
    Forecast { mean: mean as f32, quantiles, end_within }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_forecast::judging::errors::{ReplyErrors, mean_absolute};
    use eoscast_forecast::judging::testing::reply;

    #[test]
    fn a_weighted_distribution_by_hand() {
        let answer = weighted(&[(4, true, 1.0), (10, false, 1.0), (100, true, 2.0)]);
        assert_eq!(answer.mean, 53.5);
        assert_eq!((answer.quantiles[3], answer.quantiles[4], answer.median()), (4.0, 10.0, 10.0));
        assert_eq!(answer.end_within, [0.0, 0.25, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn prompts_with_one_sample_have_no_floor() {
        let replies = [reply(5, 100, true), reply(6, 100, true)];
        assert!(noise_floor(&replies).is_empty());
    }

    #[test]
    fn where_a_prompt_sets_the_length_little_is_left() {
        let one = |i: u32| FinishedReply {
            request_id: i.to_string(),
            group: (i % 20).to_string(),
            ..reply(20 * (1 + i % 20), 1000, true)
        };
        let same: Vec<_> = (0..160).map(one).collect();
        let judged = noise_floor(&same);
        assert_eq!(judged.len(), 160);
        let floor = mean_absolute(&ReplyErrors::of(&judged), &[1.0; 160]).unwrap();
        assert!(floor < 1.0, "{floor}");
    }

    #[test]
    fn a_reply_longer_than_all_others_still_gets_an_answer() {
        let long = FinishedReply { request_id: "long".into(), ..reply(50, 100, true) };
        let replies = [long.clone(), FinishedReply { output_length: 10, ..long }];
        assert_eq!(noise_floor(&replies)[0].answers[49], Forecast::point(1.0));
    }
}
