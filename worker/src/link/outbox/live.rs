//! [`LiveRequests`]: the requests that the predictor has to know, and which of them a new connection has not announced yet.

use std::collections::{BTreeMap, HashMap, HashSet};

use eoscast_proto::domain::{RequestEnded, RequestId, RequestStarted, StepBatch, StepEvent};

use super::report::StepReport;

/// Most bytes of prompt texts that are kept to be announced again. Requests beyond are announced without theirs: a predictor that
/// lost them forecasts from what else it knows.
const MOST_PROMPT_BYTES: usize = 32 << 20;

/// The requests whose end the predictor has not acknowledged.
#[derive(Debug, Default)]
pub(super) struct LiveRequests {
    requests: HashMap<RequestId, TrackedRequest>,
    /// How many of them have not ended.
    unended: usize,
    prompt_bytes: usize,
    /// Requests that the present connection has to announce, with the tokens they had before the next batch that goes out.
    unannounced: BTreeMap<RequestId, u32>,
    /// Live requests that the predictor is not told of: more than the contract allows.
    beyond_limit: HashSet<RequestId>,
}

#[derive(Debug)]
struct TrackedRequest {
    started: RequestStarted,
    /// Batch that tells the start; 0 once the start is dropped, since only announcements tell it then.
    started_in: u64,
    /// Whether that, or an announcement, ever went out.
    was_sent: bool,
    /// Whether the end ever went out.
    end_was_sent: bool,
    /// Whether the end moved to a later batch after it went out. The predictor may have taken it under the old number: announced
    /// again, the request would end twice.
    sent_end_moved: bool,
    /// Tokens generated up to the newest batch.
    output_length: u32,
    /// Batch that tells the end.
    ended_in: Option<u64>,
}

impl TrackedRequest {
    fn prompt_bytes(&self) -> usize {
        self.started.prompt.as_ref().map_or(0, String::len)
    }
}

impl LiveRequests {
    /// Takes out of `report` what concerns requests beyond the most that a worker may tell of. Gives the number of steps taken out.
    pub(super) fn admit(&mut self, report: &mut StepReport) -> usize {
        let mut room = StepBatch::MOST_LIVE.saturating_sub(self.unended);
        report.started.retain(|started| {
            let fits = room > 0;
            room = room.saturating_sub(1);
            if !fits {
                self.beyond_limit.insert(started.request_id.clone());
            }
            fits
        });
        if self.beyond_limit.is_empty() {
            return 0;
        }
        let before = report.events.len();
        report.events.retain(|event| match event.finish_reason {
            None => !self.beyond_limit.contains(&event.request_id),
            Some(_) => !self.beyond_limit.remove(&event.request_id),
        });
        report.ended.retain(|ended| !self.beyond_limit.remove(&ended.request_id));
        before - report.events.len()
    }

    /// Notes what the new batch tells.
    pub(super) fn remember(&mut self, batch: &StepBatch) {
        let number = batch.sequence_number;
        for started in &batch.started {
            let mut started = started.clone();
            self.prompt_bytes += started.prompt.as_ref().map_or(0, String::len);
            if self.prompt_bytes > MOST_PROMPT_BYTES {
                self.prompt_bytes -= started.prompt.take().map_or(0, |text| text.len());
            }
            let id = started.request_id.clone();
            let known = TrackedRequest {
                started,
                started_in: number,
                was_sent: false,
                end_was_sent: false,
                sent_end_moved: false,
                output_length: 0,
                ended_in: None,
            };
            self.unended += 1;
            if let Some(before) = self.requests.insert(id, known) {
                self.prompt_bytes -= before.prompt_bytes();
                self.unended -= usize::from(before.ended_in.is_none());
            }
        }
        for event in &batch.events {
            if let Some(known) = self.requests.get_mut(&event.request_id) {
                known.output_length = event.step;
            }
            if event.finish_reason.is_some() {
                self.end(&event.request_id, number);
            }
        }
        for ended in &batch.ended {
            self.end(&ended.request_id, number);
        }
    }

    fn end(&mut self, id: &RequestId, number: u64) {
        if let Some(known) = self.requests.get_mut(id) {
            self.unended -= usize::from(known.ended_in.is_none());
            known.ended_in = Some(number);
        }
    }

    /// A new connection has to announce what was live before the first batch of `queue`, which has the number `first`.
    pub(super) fn on_connected<'a>(&mut self, first: u64, queue: impl Iterator<Item = &'a StepBatch>) {
        let mut first_steps: HashMap<&RequestId, u32> = HashMap::new();
        for event in queue.flat_map(|batch| &batch.events) {
            first_steps.entry(&event.request_id).or_insert(event.step);
        }
        let live_before = |known: &TrackedRequest| {
            known.started_in < first && known.ended_in.is_none_or(|ended_in| ended_in >= first) && !known.sent_end_moved
        };
        let length = |id, known: &TrackedRequest| {
            first_steps.get(id).map_or(known.output_length, |first| first.saturating_sub(1))
        };
        let unannounced = self.requests.iter().filter(|(_, known)| live_before(known));
        self.unannounced = unannounced.map(|(id, known)| (id.clone(), length(id, known))).collect();
    }

    /// Whether the connection still has to announce requests.
    pub(super) fn has_unannounced(&self) -> bool {
        !self.unannounced.is_empty()
    }

    /// Completes a batch that goes out: before its own entries it announces the requests that it tells of, then as many others as
    /// the message has room for. The text of a prompt is left out where there is no room for it.
    pub(super) fn complete(&mut self, batch: &mut StepBatch) {
        for started in &batch.started {
            if let Some(known) = self.requests.get_mut(&started.request_id) {
                known.was_sent = true;
            }
        }
        let finished = batch.events.iter().filter(|event| event.finish_reason.is_some()).map(|event| &event.request_id);
        for id in finished.chain(batch.ended.iter().map(|ended| &ended.request_id)) {
            if let Some(known) = self.requests.get_mut(id) {
                known.end_was_sent = true;
            }
        }
        if self.unannounced.is_empty() {
            return;
        }
        let steps = batch.events.iter().map(|event| &event.request_id);
        let mentioned = steps.chain(batch.ended.iter().map(|ended| &ended.request_id));
        let needed: Vec<(RequestId, u32)> = mentioned.filter_map(|id| self.unannounced.remove_entry(id)).collect();
        let mut announcements: Vec<RequestStarted> =
            needed.into_iter().filter_map(|(id, length)| self.announcement(&id, length)).collect();
        let mut entries = batch.started.len() + announcements.len();
        let mut bytes = batch.wire_bytes();
        bytes += announcements.iter().map(RequestStarted::wire_bytes_without_prompt).sum::<usize>();
        for announcement in &mut announcements {
            let text = announcement.prompt.as_ref().map_or(0, String::len);
            if bytes + text <= StepBatch::MOST_BYTES {
                bytes += text;
            } else {
                announcement.prompt = None;
            }
        }
        while let Some((id, length)) = self.unannounced.pop_first() {
            let Some(announcement) = self.announcement(&id, length) else { continue };
            if entries == StepBatch::MOST_ENTRIES || bytes + announcement.wire_bytes() > StepBatch::MOST_BYTES {
                self.unannounced.insert(id, length);
                break;
            }
            entries += 1;
            bytes += announcement.wire_bytes();
            announcements.push(announcement);
        }
        for announcement in &announcements {
            if let Some(known) = self.requests.get_mut(&announcement.request_id) {
                known.was_sent = true;
            }
        }
        batch.started.splice(0..0, announcements);
    }

    fn announcement(&self, id: &RequestId, output_length: u32) -> Option<RequestStarted> {
        let known = self.requests.get(id)?;
        Some(RequestStarted { output_length, ..known.started.clone() })
    }

    /// The start of a request is dropped. Each later connection announces it, and so does this one if it did not send it.
    pub(super) fn on_start_dropped(&mut self, started: &RequestStarted, is_sent: bool) {
        if let Some(known) = self.requests.get_mut(&started.request_id) {
            known.started_in = 0;
        }
        if !is_sent {
            self.unannounced.insert(started.request_id.clone(), started.output_length);
        }
    }

    /// A step is dropped before this connection sent it.
    pub(super) fn on_step_dropped(&mut self, event: &StepEvent) {
        if let Some(length) = self.unannounced.get_mut(&event.request_id) {
            *length = event.step;
        }
    }

    /// The end of a request moves to batch `number`; `false` if nobody needs to be told, since nothing was told of it yet.
    pub(super) fn move_end(&mut self, ended: &RequestEnded, number: u64) -> bool {
        let Some(known) = self.requests.get_mut(&ended.request_id) else { return true };
        known.ended_in = Some(number);
        known.sent_end_moved |= known.end_was_sent;
        let never_sent = !known.was_sent && self.unannounced.remove(&ended.request_id).is_some();
        if never_sent {
            self.forget(&ended.request_id);
        }
        !never_sent
    }

    fn forget(&mut self, id: &RequestId) {
        if let Some(known) = self.requests.remove(id) {
            self.prompt_bytes -= known.prompt_bytes();
            self.unended -= usize::from(known.ended_in.is_none());
        }
    }

    /// Forgets the requests that ended in a batch up to `number`.
    pub(super) fn on_acknowledged(&mut self, number: u64) {
        let Self { requests, prompt_bytes, .. } = self;
        requests.retain(|_, known| {
            let stays = known.ended_in.is_none_or(|ended_in| ended_in > number);
            if !stays {
                *prompt_bytes -= known.prompt_bytes();
            }
            stays
        });
    }
}
