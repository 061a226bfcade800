//! [`Owed`]: what the event log lacks while it cannot be written. Arrivals and outcomes are kept and written later, so that what is
//! answered after the gap can be replayed; steps are lost.

use std::collections::VecDeque;
use std::io;
use std::time::SystemTime;

use eoscast_log::record::{GapLine, LineCounts, Lines, RequestLine, StartLine};

/// Most lines of each kind that are kept, the newest: more outcomes no model looks back on.
const MOST_OWED: usize = eoscast_forecast::history::LONGEST_WINDOW;

/// Lines that are to be written, and the gap that is to be marked then.
#[derive(Debug, Default)]
pub(super) struct Owed {
    starts: VecDeque<StartLine>,
    requests: VecDeque<RequestLine>,
    gap: Option<GapLine>,
    /// Lines lost that nobody has counted yet.
    lost: LineCounts,
}

impl Owed {
    /// Takes in what of `messages` is not in the log: all but the first `written` lines of each series. `error` is why.
    pub(super) fn take(&mut self, messages: Vec<Lines>, written: LineCounts, error: Option<&io::Error>) {
        let mut skip = written;
        let mut lost = LineCounts::default();
        for Lines { starts, requests, steps } in messages {
            self.starts.extend(unwritten(starts, &mut skip.starts));
            self.requests.extend(unwritten(requests, &mut skip.requests));
            lost.steps += unwritten(steps, &mut skip.steps).count() as u64;
        }
        lost.starts = drop_oldest(&mut self.starts);
        lost.requests = drop_oldest(&mut self.requests);
        self.lost += lost;
        if lost == LineCounts::default() && self.is_empty() {
            return;
        }
        let gap = self.gap.get_or_insert_with(|| GapLine {
            timestamp: now(),
            since: now(),
            reason: error.map_or_else(|| "the log could not be written".to_owned(), ToString::to_string),
            missing: LineCounts::default(),
        });
        gap.missing += lost;
    }

    /// What is to be written before anything else; it is owed no more.
    pub(super) fn lines(&mut self) -> Option<Lines> {
        let (starts, requests) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.requests));
        let is_owed = !(starts.is_empty() && requests.is_empty());
        is_owed.then(|| Lines { starts: starts.into(), requests: requests.into(), steps: vec![] })
    }

    /// Marks the gap, now that the log goes on.
    ///
    /// # Errors
    /// When that fails; it is tried again the next time.
    pub(super) fn settle(&mut self, mark: impl FnOnce(&GapLine) -> io::Result<()>) -> io::Result<()> {
        if let Some(gap) = &mut self.gap {
            gap.timestamp = now();
            mark(gap)?;
            self.gap = None;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.requests.is_empty() && self.gap.is_none()
    }

    /// What the log lacks as long as nothing of it is written: lines that are owed, and those that the gap counts.
    pub(super) fn missing(&self) -> LineCounts {
        let mut missing = self.gap.as_ref().map_or_else(LineCounts::default, |gap| gap.missing);
        missing += LineCounts { starts: self.starts.len() as u64, requests: self.requests.len() as u64, steps: 0 };
        missing
    }

    /// Lines lost since this was asked last.
    pub(super) fn take_lost(&mut self) -> LineCounts {
        std::mem::take(&mut self.lost)
    }
}

/// The lines after the first `written`, of which those that are passed over are taken off.
fn unwritten<T>(lines: Vec<T>, written: &mut u64) -> impl Iterator<Item = T> {
    let skipped = lines.len().min(usize::try_from(*written).unwrap_or(usize::MAX));
    *written -= skipped as u64;
    lines.into_iter().skip(skipped)
}

/// Gives the number of lines that are dropped.
fn drop_oldest<T>(lines: &mut VecDeque<T>) -> u64 {
    let surplus = lines.len().saturating_sub(MOST_OWED);
    lines.drain(..surplus);
    surplus as u64
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_loses_nothing_and_owes_nothing_makes_no_gap() {
        let mut owed = Owed::default();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        owed.take(vec![Lines::default()], LineCounts::default(), Some(&full));
        owed.settle(|gap| panic!("{gap:?}")).unwrap();
        assert!(owed.is_empty());
    }
}
