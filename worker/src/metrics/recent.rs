//! Requests that ended in the last ten seconds.

use std::time::{Duration, Instant};

/// Spacing of the counts.
const SLOT: Duration = Duration::from_millis(250);
/// How many are kept: ten seconds.
const SLOTS: usize = 40;

/// Counts of requests that ended, in a ring of slots.
pub(super) struct RecentEnds {
    began: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// From the start of the counts; whatever else is in its place is older.
    number: u64,
    ended: u32,
    failed: u32,
}

/// Requests that ended in the last ten seconds, per second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct EndRates {
    /// All of them.
    pub(crate) ended: f64,
    /// Those that ended by a failure of ours.
    pub(crate) failed: f64,
}

impl RecentEnds {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, slots: [Slot::default(); SLOTS] }
    }

    /// A request ended now.
    pub(super) fn add(&mut self, now: Instant, failed: bool) {
        let number = self.number(now);
        let slot = &mut self.slots[number as usize % SLOTS];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.ended = slot.ended.saturating_add(1);
        slot.failed = slot.failed.saturating_add(failed.into());
    }

    pub(super) fn per_second(&self, now: Instant) -> EndRates {
        let number = self.number(now);
        let recent = self.slots.iter().filter(|slot| number - slot.number.min(number) < SLOTS as u64);
        let (ended, failed) = recent
            .fold((0, 0), |(ended, failed), slot| (ended + u64::from(slot.ended), failed + u64::from(slot.failed)));
        let seconds = (SLOT * SLOTS as u32).as_secs_f64();
        EndRates { ended: ended as f64 / seconds, failed: failed as f64 / seconds }
    }

    fn number(&self, now: Instant) -> u64 {
        // Fits for the life of a machine.
        (now.saturating_duration_since(self.began).as_millis() / SLOT.as_millis()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_counts_for_ten_seconds() {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let mut recent = RecentEnds::new(began);
        assert_eq!(recent.per_second(at(0.0)), EndRates::default());
        (0..30).for_each(|i| recent.add(at(f64::from(i) / 10.0), i % 10 == 0));
        assert_eq!(recent.per_second(at(3.0)), EndRates { ended: 3.0, failed: 0.3 });
        assert_eq!(recent.per_second(at(9.9)), EndRates { ended: 3.0, failed: 0.3 });
        assert_eq!(recent.per_second(at(11.9)), EndRates { ended: 1.0, failed: 0.1 }, "those of the third second");
        assert_eq!(recent.per_second(at(13.0)), EndRates::default());
        recent.add(at(100.0), true);
        assert_eq!(recent.per_second(at(100.0)), EndRates { ended: 0.1, failed: 0.1 });
    }
}
