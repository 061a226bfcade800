//! Multi-level feedback queue (FastServe, Wu et al. 2023, as vllm-ltr compares with it): who has run less goes first.
//!
//! A request starts in level 0 and sinks to the next once it used up a quantum, 0.03 s in level 0 and ten times that of
//! the level above in each below. Who waited 3 s since it last ran is in level 0 again. First come, first served within
//! a level. As only the waiting are ranked, requests sink where they are preempted.

use super::moment::Moment;
use super::rule::OrderRule;
use crate::signature::Argument;
use crate::view::RequestView;

const QUANTUM: f64 = 0.03;
const GROWTH: f64 = 10.0;
const STARVATION_SECONDS: f64 = 3.0;

/// More than arrivals differ by; f64 then still tells arrivals of the same level apart by less than a microsecond.
const LEVEL_APART: f64 = 1e9;

pub(super) static RULE: OrderRule = OrderRule {
    moves_with_time: true,
    ..OrderRule::new("mlfq", Argument::None, |outlook, _, moment| score(&outlook.view, moment))
};

fn score(view: &RequestView, moment: &Moment) -> f64 {
    let starves = moment.now - view.queued_at >= STARVATION_SECONDS;
    let level = if starves { 0 } else { level(view.served) };
    f64::from(level) * LEVEL_APART + view.request.arrival
}

/// The level after so many seconds of service: those above hold 0.03 + 0.3 + ... s.
fn level(served: f64) -> u32 {
    let (mut level, mut quantum, mut used_up) = (0, QUANTUM, QUANTUM);
    while served >= used_up && quantum < LEVEL_APART {
        level += 1;
        quantum *= GROWTH;
        used_up += quantum;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    const MOMENT: Moment = Moment { now: 10.0, ..Moment::START };

    #[test]
    fn each_level_holds_ten_times_the_one_above() {
        assert_eq!([0.0, 0.029, 0.031, 0.32, 0.34, 3.32, 3.34].map(level), [0, 0, 1, 1, 2, 2, 3]);
        assert!(level(f64::INFINITY) < 20);
    }

    #[test]
    fn who_ran_less_goes_first_and_the_older_among_equals() {
        let score = |key, served| score(&RequestView { served, queued_at: 9.0, ..view(key) }, &MOMENT);
        assert!(score(5, 0.0) < score(1, 0.1));
        assert!(score(1, 0.1) < score(5, 0.2));
    }

    #[test]
    fn three_seconds_without_service_lead_back_to_the_top() {
        let score = |queued_at| score(&RequestView { served: 5.0, queued_at, ..view(1) }, &MOMENT);
        assert!(score(6.9) < score(7.1));
        assert_eq!(score(6.9), 1.0);
    }
}
