//! Lead time: how long before the end an alarm rises and stays up, at a given share of false alarms.
//!
//! The alarm of a reply is up after t tokens while P(ends within 16) is at or above a threshold.
//!
//! - *Lead time* of a reply that ended: tokens left when the alarm rose for the last time, if it is up at the last step and so stays
//!   up until the end; 0 if it is not. More than [`EARLIEST`] counts as [`EARLIEST`].
//! - *False alarm*: a reply in which the alarm falls again after it rose, or rises with more than [`EARLIEST`] tokens left. A reply
//!   that was cut is treated as if it ended at the cut: if the alarm is false even then, it is false for the natural end.
//!
//! The threshold for a rate of false alarms is the lowest from which on no higher one exceeds the rate.

use eoscast_proto::domain::END_WITHIN;
use serde::{Deserialize, Serialize};

use super::Judged;
use super::weight::weighted_median;

/// Tokens before the end from which on an alarm is in time, not false.
pub(crate) const EARLIEST: u32 = 64;

/// Rates of false alarms that tables give, in percent of replies.
pub(crate) const RATES: [u32; 3] = [1, 5, 10];

/// The horizon of the alarm in [`END_WITHIN`]: 16 tokens.
pub(crate) const HORIZON: usize = 2;
const _: () = assert!(END_WITHIN[HORIZON] == 16);

/// Thresholds tried, evenly spaced in log-odds from 1:400 to 400:1, where they tell models apart best.
const THRESHOLDS: usize = 241;

/// What an alarm of one threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alarm {
    /// Probability from which on it is up.
    pub(crate) threshold: f64,
    /// Share of replies with a false alarm.
    pub(crate) false_alarms: f64,
    /// Mean lead time over replies that ended, in tokens.
    pub(crate) mean_lead: f64,
    /// Median lead time over replies that ended, in tokens.
    pub(crate) median_lead: f64,
    /// Share of replies that ended with the alarm up.
    pub(crate) warned: f64,
}

/// Alarms of all thresholds, lowest first; empty unless some reply ended.
pub(crate) fn alarms(judged: &[Judged<'_>]) -> Vec<Alarm> {
    if !judged.iter().any(|one| one.reply.ended) {
        return vec![];
    }
    let spread = 400f64.ln();
    let odds = (0..THRESHOLDS).map(|i| (2.0 * i as f64 / (THRESHOLDS - 1) as f64 - 1.0) * spread);
    odds.map(|odds| alarm(judged, 1.0 / (1.0 + (-odds).exp()))).collect()
}

/// Of [`alarms`], the one that gives the longest warning while at most `rate` of replies have a false alarm; `None` where even the
/// highest threshold has more.
pub(crate) fn at_rate(alarms: &[Alarm], rate: f64) -> Option<Alarm> {
    alarms.iter().rev().take_while(|alarm| alarm.false_alarms <= rate).last().copied()
}

fn alarm(judged: &[Judged<'_>], threshold: f64) -> Alarm {
    let (mut false_alarms, mut leads) = (0u32, vec![]);
    for one in judged {
        let up = |t: usize| f64::from(one.answers[t].end_within[HORIZON]) >= threshold;
        let length = one.answers.len();
        let last_run = (0..length).rev().take_while(|t| up(*t)).count();
        let fell = (0..length - last_run).any(up);
        false_alarms += u32::from(fell || last_run > EARLIEST as usize);
        if one.reply.ended {
            leads.push((last_run.min(EARLIEST as usize) as f64, 1.0));
        }
    }
    let replies = leads.len().max(1) as f64;
    Alarm {
        threshold,
        false_alarms: f64::from(false_alarms) / judged.len().max(1) as f64,
        mean_lead: leads.iter().map(|(lead, _)| lead).sum::<f64>() / replies,
        warned: leads.iter().filter(|(lead, _)| *lead > 0.0).count() as f64 / replies,
        median_lead: weighted_median(leads).unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::FinishedReply;
    use eoscast_forecast::judging::testing::reply;
    use eoscast_proto::domain::Forecast;

    /// With these probabilities of an end within 16 tokens.
    fn judged<'a>(reply: &'a FinishedReply, probability: impl Fn(u32) -> f32) -> Judged<'a> {
        Judged::new(reply, |t| Forecast { end_within: [probability(t); 5], ..Forecast::point(1.0) })
    }

    #[test]
    fn lead_time_counts_from_where_the_alarm_stays_up() {
        let reply = reply(100, 200, true);
        let rises = judged(&reply, |t| if t >= 90 { 0.9 } else { 0.1 });
        let alarm = alarm(&[rises], 0.5);
        assert_eq!((alarm.mean_lead, alarm.median_lead, alarm.false_alarms, alarm.warned), (10.0, 10.0, 0.0, 1.0));
    }

    #[test]
    fn an_alarm_that_falls_again_or_comes_too_early_is_false() {
        let reply = reply(100, 200, true);
        let falls = alarm(&[judged(&reply, |t| if t == 50 || t >= 95 { 0.9 } else { 0.1 })], 0.5);
        let early = alarm(&[judged(&reply, |t| if t >= 35 { 0.9 } else { 0.1 })], 0.5);
        let in_time = alarm(&[judged(&reply, |t| if t >= 36 { 0.9 } else { 0.1 })], 0.5);
        assert_eq!((falls.false_alarms, falls.mean_lead), (1.0, 5.0));
        assert_eq!((early.false_alarms, early.mean_lead), (1.0, 64.0));
        assert_eq!(in_time.false_alarms, 0.0);
    }

    #[test]
    fn a_cut_reply_can_only_have_false_alarms() {
        let (cut, ended) = (reply(100, 100, false), reply(100, 200, true));
        let late = judged(&cut, |t| if t >= 90 { 0.9 } else { 0.1 });
        let early = judged(&cut, |t| if t >= 10 { 0.9 } else { 0.1 });
        let silent = judged(&ended, |_| 0.1);
        let alarm = alarm(&[late, early, silent], 0.5);
        assert_eq!((alarm.false_alarms, alarm.mean_lead, alarm.warned), (1.0 / 3.0, 0.0, 0.0));
        assert!(alarms(&[judged(&cut, |_| 0.5)]).is_empty());
    }

    #[test]
    fn the_threshold_of_a_rate_is_the_lowest_that_keeps_it() {
        let reply = reply(100, 200, true);
        let honest = judged(&reply, |t| if t >= 80 { 0.8 } else { 0.1 });
        let wild = judged(&reply, |t| if t == 3 { 0.6 } else { 0.2 });
        let alarms = alarms(&[honest, wild]);
        let none = at_rate(&alarms, 0.0).unwrap();
        assert!(none.threshold > 0.6 && none.threshold < 0.63 && none.mean_lead == 10.0, "{none:?}");
        let half = at_rate(&alarms, 0.5).unwrap();
        assert!(half.threshold > 0.1 && half.threshold < 0.21, "{half:?}");
        let never_silent = judged(&reply, |_| 1.0);
        assert_eq!(at_rate(&super::alarms(&[never_silent]), 0.5), None);
    }
}
