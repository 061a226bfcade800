//! [`Outcomes`]: which outcomes models learn, so that neither a mistake nor one worker alone rules what all are answered with.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use eoscast_forecast::history::History;
use eoscast_log::record::RequestLine;
use eoscast_proto::domain::WorkerId;

/// A reply's length is believed if at least half of its steps were seen, but for so many: some are lost at times.
const UNSEEN_STEPS: u32 = 16;
/// One worker alone may have this share of the window of outcomes, whatever the others do.
const FREE_SHARE: usize = 4;
/// Beyond half of the window it still adds one outcome so often: else the window would grow old where others seldom end a request.
const ABOVE_HALF_EVERY: Duration = Duration::from_secs(1);
/// A worker without an outcome for this long claims no share.
const ACTIVE: Duration = Duration::from_secs(3600);

/// The outcomes that are learned, and whose they were.
pub(super) struct Outcomes {
    pub(super) history: History,
    /// Whose the newest outcomes were, as many as the window of the prior has.
    recent: VecDeque<WorkerId>,
    shares: HashMap<WorkerId, Share>,
    /// As it was when it was looked at last.
    now: Instant,
}

struct Share {
    /// Outcomes among the recent ones.
    outcomes: usize,
    /// When the last was learned.
    latest: Instant,
}

impl Outcomes {
    /// Goes on after the outcomes of `history`, the newest of which were of the workers `learned_from`.
    pub(super) fn new(history: History, learned_from: impl IntoIterator<Item = WorkerId>, now: Instant) -> Self {
        let mut outcomes = Self { history, recent: VecDeque::new(), shares: HashMap::new(), now };
        for worker_id in learned_from {
            outcomes.note(worker_id, usize::MAX);
        }
        outcomes
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Numbers the outcome and counts it, if models are to learn it; else its number stays 0. `window` is the number of outcomes
    /// that the prior keeps.
    pub(super) fn count(&mut self, line: &mut RequestLine, window: usize) {
        if is_plausible(line) && self.has_room_for(&line.worker_id, window) {
            self.history.push(line.outcome());
            self.note(line.worker_id.clone(), window);
            line.outcome_number = self.history.seen;
        }
        line.censored_outcomes = self.history.censored;
    }

    fn has_room_for(&self, worker_id: &WorkerId, window: usize) -> bool {
        let is_active = |share: &Share| self.now.saturating_duration_since(share.latest) < ACTIVE;
        let Some(own) = self.shares.get(worker_id) else { return true };
        own.outcomes <= (window / FREE_SHARE).max(self.recent.len() / 2)
            || self.now.saturating_duration_since(own.latest) >= ABOVE_HALF_EVERY
            || !self.shares.iter().any(|(id, share)| id != worker_id && is_active(share))
    }

    fn note(&mut self, worker_id: WorkerId, window: usize) {
        let share = self.shares.entry(worker_id.clone()).or_insert(Share { outcomes: 0, latest: self.now });
        share.outcomes += 1;
        share.latest = self.now;
        self.recent.push_back(worker_id);
        while self.recent.len() > window
            && let Some(oldest) = self.recent.pop_front()
        {
            if let Some(share) = self.shares.get_mut(&oldest) {
                share.outcomes -= 1;
                if share.outcomes == 0 {
                    self.shares.remove(&oldest);
                }
            }
        }
    }
}

/// Whether what was seen of the reply, and what its request allows, bear its length out.
fn is_plausible(line: &RequestLine) -> bool {
    let length = line.outcome().length;
    length <= line.max_tokens && length <= line.steps_observed.saturating_mul(2).saturating_add(UNSEEN_STEPS)
}

#[cfg(test)]
mod tests {
    use eoscast_log::request::LoggedRequest;
    use eoscast_proto::domain::{FinishReason, RequestStarted, StepEvent, WorkerRun};

    use super::*;

    const WINDOW: usize = 2_000;

    fn outcomes() -> Outcomes {
        Outcomes::new(History::default(), [], Instant::now())
    }

    /// Of a reply of `length` tokens of which the first `seen` steps were seen.
    fn line(worker_id: &str, length: u32, seen: u32) -> RequestLine {
        let started = RequestStarted { max_tokens: 1 << 21, ..RequestStarted::for_test("r") };
        let mut request = LoggedRequest::new(started, WorkerRun::for_test(worker_id), 0.0);
        (1..=seen).for_each(|step| request.observe(&StepEvent { step, ..StepEvent::for_test("r") }, 0.0));
        request.request_line(FinishReason::Stop, length, 0.0, None)
    }

    /// How many of so many outcomes of a worker are learned.
    fn learned(outcomes: &mut Outcomes, worker_id: &str, count: usize) -> usize {
        let mut lines = std::iter::repeat_with(|| line(worker_id, 3, 3)).take(count);
        lines
            .by_ref()
            .filter_map(|mut line| {
                outcomes.count(&mut line, WINDOW);
                (line.outcome_number > 0).then_some(())
            })
            .count()
    }

    #[test]
    fn a_length_that_no_steps_bear_out_is_not_learned() {
        let mut outcomes = outcomes();
        for (length, seen, expected) in [(1 << 20, 0, 0), (1 << 20, 1, 0), (100, 40, 0), (100, 60, 1), (8, 0, 2)] {
            let mut line = line("w", length, seen);
            outcomes.count(&mut line, WINDOW);
            assert_eq!(line.outcome_number, expected, "{length} tokens, {seen} steps seen");
        }
        let mut beyond = RequestLine { max_tokens: 50, ..line("w", 100, 100) };
        outcomes.count(&mut beyond, WINDOW);
        assert_eq!(beyond.outcome_number, 0, "more than max_tokens");
        assert_eq!(outcomes.history.seen, 2);
    }

    #[test]
    fn a_worker_alone_fills_the_window() {
        assert_eq!(learned(&mut outcomes(), "w", 3 * WINDOW), 3 * WINDOW);
    }

    #[test]
    fn a_flood_of_one_worker_leaves_half_of_the_window_to_others() {
        let mut outcomes = outcomes();
        learned(&mut outcomes, "honest", WINDOW);
        assert_eq!(learned(&mut outcomes, "flood", 10 * WINDOW), WINDOW / 2 + 1);
        assert_eq!(learned(&mut outcomes, "honest", 10), 10);
    }

    #[test]
    fn a_window_does_not_grow_old_where_others_seldom_end_a_request() {
        let mut outcomes = outcomes();
        let begun = Instant::now();
        learned(&mut outcomes, "seldom", 1);
        learned(&mut outcomes, "busy", WINDOW);
        let before = outcomes.history.seen;
        for second in 1..=10 {
            outcomes.set_now(begun + Duration::from_secs(second));
            learned(&mut outcomes, "busy", 5);
        }
        assert!(outcomes.history.seen >= before + 9, "{} after {before}", outcomes.history.seen);
        outcomes.set_now(begun + ACTIVE + Duration::from_secs(20));
        assert_eq!(learned(&mut outcomes, "busy", WINDOW), WINDOW);
    }
}
