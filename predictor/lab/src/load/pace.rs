//! When messages are due, and whose doing it is that one goes out late.

use std::time::{Duration, Instant};

/// How a load is played.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests live at a time in each stream; each message has one step of each.
    pub live: usize,
    /// Step events a second of all streams together; as fast as it goes if `None`.
    pub events_per_s: Option<f64>,
    /// How long.
    pub duration: Duration,
}

impl Pace {
    /// When the message after so many `events` is due.
    pub(super) fn due(&self, begun: Instant, events: u64) -> Option<Instant> {
        self.events_per_s.map(|rate| begun + Duration::from_secs_f64(events as f64 / rate))
    }
}

/// How late messages go out through the generator alone.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// How long the predictor has held up messages since one went out on time.
    held: Duration,
}

impl Lateness {
    /// The generator was ahead of its time, and slept.
    pub(super) fn was_ahead(&mut self) {
        self.held = Duration::ZERO;
    }

    /// A message waited this long for the predictor to take earlier ones of its stream; those behind it wait as well.
    pub(super) fn was_held(&mut self, time: Duration) {
        self.held += time;
    }

    /// The part of a message's lateness `late` that is the generator's own doing: what the predictor did not hold up.
    pub(super) fn own(&self, late: Duration) -> Duration {
        late.saturating_sub(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_late_awakening_is_the_generators_own_doing_and_what_the_predictor_holds_up_is_not() {
        let mut lateness = Lateness::default();
        let mut own = |slept: bool, late, then_held| {
            if slept {
                lateness.was_ahead();
            }
            let own = lateness.own(late);
            lateness.was_held(then_held);
            own
        };
        assert_eq!(own(true, ms(0), ms(0)), ms(0));
        assert_eq!(own(true, ms(5), ms(0)), ms(5), "it was woken late");
        assert_eq!(own(false, ms(3), ms(6)), ms(3), "it has caught up in part");
        assert_eq!(own(false, ms(9), ms(0)), ms(3), "the predictor held up 6 of them");
        assert_eq!(own(true, ms(1), ms(0)), ms(1));
    }

    #[test]
    fn a_generator_that_makes_messages_too_slowly_is_late_by_itself() {
        let lateness = Lateness::default();
        let own: Vec<_> = (1..=3).map(|message| lateness.own(ms(2 * message))).collect();
        assert_eq!(own, [ms(2), ms(4), ms(6)]);
    }

    #[test]
    fn messages_are_due_at_the_rate_of_all_streams_together() {
        let pace = Pace { live: 16, events_per_s: Some(1_000.0), duration: ms(1) };
        let begun = Instant::now();
        assert_eq!(pace.due(begun, 32), Some(begun + ms(32)));
        assert_eq!(Pace { events_per_s: None, ..pace }.due(begun, 32), None);
    }
}
