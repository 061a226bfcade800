//! [`parts`]: what a step has to tell, in messages that no limit of the contract refuses.

use eoscast_proto::domain::{RequestEnded, RequestStarted, StepBatch, StepEvent};

use super::report::StepReport;

/// Most entries of a batch of ours. As many again may be announced in the same message, one for each entry.
pub(super) const MOST_ENTRIES: usize = StepBatch::MOST_ENTRIES / 2;
/// Most bytes of a batch of ours; the rest of a message is for announcements.
pub(super) const MOST_BYTES: usize = StepBatch::MOST_BYTES / 4;
// Announcements without the prompt's text, one for each entry, fit into what is left.
const _: () = assert!(MOST_BYTES + MOST_ENTRIES * RequestStarted::MOST_BYTES_WITHOUT_PROMPT <= StepBatch::MOST_BYTES);
// An arrival with the longest prompt fits into a batch.
const _: () = assert!(RequestStarted::MOST_BYTES <= MOST_BYTES);

/// Splits `report` where it has more than [`MOST_ENTRIES`] entries or [`MOST_BYTES`] bytes; it stays whole in most cases.
pub(super) fn parts(report: StepReport) -> Vec<StepReport> {
    if entries(&report) <= MOST_ENTRIES && bytes(&report) <= MOST_BYTES {
        return vec![report];
    }
    let StepReport { started, events, ended, load } = report;
    let mut parts = Parts { whole: vec![], open: StepReport { load, ..StepReport::default() }, bytes: 0 };
    for one in started {
        parts.room_for(one.wire_bytes()).started.push(one);
    }
    for one in events {
        parts.room_for(one.wire_bytes()).events.push(one);
    }
    for one in ended {
        parts.room_for(one.wire_bytes()).ended.push(one);
    }
    parts.whole.push(parts.open);
    parts.whole
}

struct Parts {
    whole: Vec<StepReport>,
    open: StepReport,
    bytes: usize,
}

impl Parts {
    /// The part that takes the next entry, which has so many bytes.
    fn room_for(&mut self, bytes: usize) -> &mut StepReport {
        if entries(&self.open) == MOST_ENTRIES || self.bytes + bytes > MOST_BYTES {
            let next = StepReport { load: self.open.load, ..StepReport::default() };
            self.whole.push(std::mem::replace(&mut self.open, next));
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.open
    }
}

fn entries(report: &StepReport) -> usize {
    report.started.len() + report.events.len() + report.ended.len()
}

fn bytes(report: &StepReport) -> usize {
    report.started.iter().map(RequestStarted::wire_bytes).sum::<usize>()
        + report.events.iter().map(StepEvent::wire_bytes).sum::<usize>()
        + report.ended.iter().map(RequestEnded::wire_bytes).sum::<usize>()
}
