//! The reservation frontier: replies for which too little is reserved, against tokens reserved in vain.
//!
//! A scheduler reserves the forecast's quantile at some level; the higher the level, the fewer replies are under-allocated, and the
//! more is reserved in vain. Two ways:
//!
//! - *once*: `quantile` tokens on arrival. A reply is under-allocated if it gets longer.
//! - *updated*: after t tokens, t + `quantile` of what remains, anew at every step. Under-allocated is the share of its steps at
//!   which the reservation is below its length: what a scheduler finds that looks at a reply at a random moment of its life.
//!
//! Over-reserved tokens are those above the reply's length (averaged over its steps where updated), as a share of the true tokens of
//! all replies.

use serde::{Deserialize, Serialize};

use super::Judged;
use eoscast_proto::domain::{Forecast, whole_tokens};

/// Shares of under-allocated replies at which frontiers are compared, in percent.
pub(crate) const SHARES: [u32; 4] = [1, 2, 4, 8];

/// What one level costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reserved {
    /// Level of the quantile.
    pub(crate) level: f64,
    /// Share of replies that are under-allocated.
    pub(crate) under_allocated: f64,
    /// Over-reserved tokens by true tokens.
    pub(crate) over_reserved: f64,
}

/// When reservations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// On arrival.
    Once,
    /// At every step.
    Updated,
}

/// Levels from 0.3 to 1: hundredths, and finer ones towards the end, where forecasts are asked for rare events.
fn levels() -> impl Iterator<Item = f64> {
    (30..99).map(|i| f64::from(i) / 100.0).chain((0..=50).map(|i| 0.99 + f64::from(i) / 5000.0))
}

/// The frontier, lowest level first; empty without replies.
pub(crate) fn frontier(judged: &[Judged<'_>], when: When) -> Vec<Reserved> {
    let true_tokens: f64 = judged.iter().map(|one| f64::from(one.reply.output_length)).sum();
    if true_tokens == 0.0 {
        return vec![];
    }
    levels().map(|level| reserved(judged, when, level, true_tokens)).collect()
}

fn reserved(judged: &[Judged<'_>], when: When, level: f64, true_tokens: f64) -> Reserved {
    let (mut under, mut over) = (0.0, 0.0);
    for one in judged {
        let steps = match when {
            When::Once => 1.min(one.answers.len()),
            When::Updated => one.answers.len(),
        };
        for (t, answer) in one.steps().take(steps) {
            // Above 0 where too much is reserved.
            let excess = reservation(answer, level, one.reply.cap(t)) - f64::from(one.reply.remaining(t));
            under += f64::from(u8::from(excess < 0.0)) / steps as f64;
            over += excess.max(0.0) / steps as f64;
        }
    }
    Reserved { level, under_allocated: under / judged.len() as f64, over_reserved: over / true_tokens }
}

fn reservation(answer: &Forecast, level: f64, cap: u32) -> f64 {
    whole_tokens(answer.quantile(level, cap))
}

/// Over-reserved tokens by true tokens at which `share` of replies are under-allocated, linear between levels; `None` where no
/// level brings it that low.
pub(crate) fn at_share(frontier: &[Reserved], share: f64) -> Option<f64> {
    let first = frontier.iter().position(|reserved| reserved.under_allocated <= share)?;
    let low = frontier[first];
    let Some(high) = first.checked_sub(1).map(|before| frontier[before]) else {
        return Some(low.over_reserved);
    };
    let way = (high.under_allocated - share) / (high.under_allocated - low.under_allocated);
    Some(high.over_reserved + way * (low.over_reserved - high.over_reserved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_forecast::judging::testing::{knows_the_law, reply, uniform_replies};

    #[test]
    fn who_knows_the_law_is_short_as_often_as_the_level_says() {
        let replies = uniform_replies(200, 200, 400);
        let frontier = frontier(&knows_the_law(&replies, 200), When::Once);
        let at_90 = frontier.iter().find(|r| (r.level - 0.9).abs() < 1e-9).unwrap();
        assert!((at_90.under_allocated - 0.1).abs() < 0.006, "{at_90:?}");
        // Mean of (180 - L)+ over 1 ..= 200 is 80.55, of L 100.5.
        assert!((at_90.over_reserved - 80.55 / 100.5).abs() < 0.01, "{at_90:?}");
    }

    #[test]
    fn updates_reserve_less_for_the_same_risk() {
        let replies = uniform_replies(100, 100, 200);
        let judged = knows_the_law(&replies, 100);
        let once = at_share(&frontier(&judged, When::Once), 0.08).unwrap();
        let updated = at_share(&frontier(&judged, When::Updated), 0.08).unwrap();
        assert!(updated < once, "{updated} {once}");
    }

    #[test]
    fn the_truth_is_neither_short_nor_over() {
        let replies = uniform_replies(20, 50, 40);
        let judged: Vec<_> =
            replies.iter().map(|r| Judged::new(r, |t| Forecast::point(r.remaining(t) as f32))).collect();
        for when in [When::Once, When::Updated] {
            let first = frontier(&judged, when)[0];
            assert_eq!((first.under_allocated, first.over_reserved), (0.0, 0.0));
            assert_eq!(at_share(&frontier(&judged, when), 0.01), Some(0.0));
        }
    }

    #[test]
    fn between_two_levels_the_frontier_is_a_line() {
        let at = |under_allocated, over_reserved| Reserved { level: 0.5, under_allocated, over_reserved };
        let frontier = [at(0.1, 0.2), at(0.02, 0.6)];
        assert!((at_share(&frontier, 0.06).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!((at_share(&frontier, 0.2), at_share(&frontier, 0.01)), (Some(0.2), None));
    }

    #[test]
    fn a_reply_that_reaches_its_limit_is_covered_by_reserving_the_limit() {
        let reply = reply(40, 40, false);
        let judged = [Judged::new(&reply, |_| Forecast::point(10.0))];
        let last = *frontier(&judged, When::Once).last().unwrap();
        assert_eq!((last.level, last.under_allocated, last.over_reserved), (1.0, 0.0, 0.0));
    }
}
