//! Whether a deadline presses.
//!
//! A request needs `needed` seconds of steps, by its mean remaining length and the duration of a step, and has `left`
//! until its deadline. It presses while `needed <= left <= needed + max(needed, mean wait)`: it can still end in time,
//! but not if it waits as long as it takes, or as the others do. Until then it has no advantage; then it goes before
//! the others of its priority, the earliest deadline first (if any order on one server meets all deadlines, so does
//! that one: Jackson 1955); and once it cannot be met, it pushes nobody back any more. Among the running, those whose
//! deadline presses are preempted after the others of their priority.

use crate::order::Moment;
use crate::view::Outlook;

/// The deadline, if it presses.
pub(crate) fn pressing(outlook: &Outlook, moment: &Moment) -> Option<f64> {
    let deadline = outlook.view.request.deadline?;
    let needed = f64::from(outlook.mean_remaining()) * moment.step_seconds;
    let left = deadline - moment.now;
    let presses = left >= needed && left <= needed + needed.max(moment.mean_wait);
    presses.then_some(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remaining::RemainingLength;
    use crate::view::{Request, RequestView, tests::view};

    const MOMENT: Moment = Moment { now: 100.0, step_seconds: 0.1, mean_wait: 3.0, ..Moment::START };

    fn presses(deadline: f64, remaining: u32, moment: &Moment) -> bool {
        let request = Request { deadline: Some(deadline), ..view(1).request };
        let outlook = Outlook::new(RequestView { request, ..view(1) }, Some(RemainingLength::certain(remaining)));
        pressing(&outlook, moment).is_some()
    }

    #[test]
    fn a_deadline_presses_from_when_waiting_would_miss_it_until_it_cannot_be_met() {
        // 20 tokens need 2 s; others wait 3 s.
        assert_eq!(
            [106.0, 105.1, 104.9, 102.1, 101.9, 90.0].map(|deadline| presses(deadline, 20, &MOMENT)),
            [false, false, true, true, false, false]
        );
        // 50 tokens need 5 s: from twice that.
        assert!(presses(109.9, 50, &MOMENT) && !presses(110.1, 50, &MOMENT));
    }

    #[test]
    fn what_is_no_time_never_presses() {
        assert!(!presses(f64::NAN, 20, &MOMENT) && !presses(f64::INFINITY, 20, &MOMENT));
    }
}
