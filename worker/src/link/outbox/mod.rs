//! What still has to reach the predictor: pure bookkeeping, no I/O.
//!
//! Batches stay until they are acknowledged, so that a new connection can resend them. When too many are waiting, or too many bytes,
//! the oldest steps are dropped: starts are announced later, and ends move to the batch behind. When the ends alone are too many, the
//! link goes on as another run.
//!
//! # Layout
//! - `report`: what one step has to tell
//! - `live`: the requests that the predictor has to know, and their announcement on a new connection
//! - `parts`: splits what a step has to tell into messages within the limits of the contract

mod live;
mod parts;
mod report;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use eoscast_proto::domain::{EngineLoad, RequestEnded, StepBatch, WorkerRun};

use live::LiveRequests;
use parts::parts;
pub(crate) use report::StepReport;

/// Batches kept for a predictor that does not acknowledge; then steps are dropped.
const MAX_QUEUED_BATCHES: usize = 4096;
/// Bytes of them.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Batches in flight on one connection.
const MAX_UNACKNOWLEDGED_BATCHES: usize = 1024;
const _: () = assert!(MAX_UNACKNOWLEDGED_BATCHES <= eoscast_proto::transport::MOST_UNACKNOWLEDGED);
/// Entries of them; a message that goes beyond is the last for now.
const MAX_UNACKNOWLEDGED_ENTRIES: u64 = 32_768;
/// Ends that move to the batch behind theirs. Where more have gathered they stay, so that dropping steps costs the same however
/// long the predictor is away.
const MAX_MOVED_ENDS: usize = 64;
/// Steps batched while no scheduling decision needs a fresh estimate. Waking the connection and the predictor costs more CPU than
/// their work itself, and both may need the cores that compute.
const STEPS_PER_WAKE: usize = 8;

/// Numbers, keeps and repeats step batches.
#[derive(Debug)]
pub(crate) struct Outbox {
    run: WorkerRun,
    sequence_number: u64,
    acknowledged: u64,
    /// Unacknowledged, oldest first.
    queue: VecDeque<QueuedBatch>,
    /// Bytes of the queue.
    bytes: usize,
    /// Entries of all batches so far.
    entries: u64,
    /// How many of the queue went out on the present connection.
    sent: usize,
    live: LiveRequests,
    /// Of the newest batch.
    load: EngineLoad,
    timestamp_micros: i64,
    dropped_steps: u64,
}

#[derive(Debug)]
struct QueuedBatch {
    batch: StepBatch,
    bytes: usize,
    /// Entries of this batch and of all before it.
    entries_until: u64,
}

impl Outbox {
    /// An empty outbox of one run of a worker.
    pub(crate) fn new(run: WorkerRun) -> Self {
        Self {
            run,
            sequence_number: 0,
            acknowledged: 0,
            queue: VecDeque::new(),
            bytes: 0,
            entries: 0,
            sent: 0,
            live: LiveRequests::default(),
            load: EngineLoad::default(),
            timestamp_micros: 0,
            dropped_steps: 0,
        }
    }

    /// Makes the next batch of what a step has to tell.
    pub(crate) fn number(&mut self, report: StepReport, timestamp_micros: i64) -> StepBatch {
        self.sequence_number += 1;
        let StepReport { started, events, ended, load } = report;
        (self.load, self.timestamp_micros) = (load, timestamp_micros);
        StepBatch {
            run: self.run.clone(),
            sequence_number: self.sequence_number,
            timestamp_micros,
            started,
            events,
            ended,
            load,
        }
    }

    /// Adds what a step has to tell. Whether it should go out now: it does while requests wait, since who of them comes next is
    /// decided by the estimates, and with every arrival and end.
    pub(crate) fn push(&mut self, mut report: StepReport, timestamp_micros: i64) -> bool {
        let is_urgent = report.load.waiting_requests > 0
            || !(report.started.is_empty() && report.ended.is_empty())
            || report.events.iter().any(|event| event.finish_reason.is_some());
        self.dropped_steps += self.live.admit(&mut report) as u64;
        for part in parts(report) {
            let batch = self.number(part, timestamp_micros);
            self.live.remember(&batch);
            self.enqueue(batch);
        }
        while self.queue.len() > MAX_QUEUED_BATCHES || self.bytes > MAX_QUEUED_BYTES {
            if !self.drop_oldest() {
                self.begin_another_run();
                break;
            }
        }
        is_urgent || self.queue.len() - self.sent >= STEPS_PER_WAKE
    }

    fn enqueue(&mut self, batch: StepBatch) {
        self.entries += batch.entries() as u64;
        let bytes = batch.wire_bytes();
        self.bytes += bytes;
        self.queue.push_back(QueuedBatch { batch, bytes, entries_until: self.entries });
    }

    /// Drops the steps of the oldest batch that has any, and the batch, if the one behind it can take its ends. `false` if there is
    /// nothing to drop.
    fn drop_oldest(&mut self) -> bool {
        for i in 0..self.queue.len().saturating_sub(1) {
            let moves = self.can_take_ends(i);
            let QueuedBatch { batch, .. } = &self.queue[i];
            if moves || !(batch.events.is_empty() && batch.started.is_empty()) {
                self.drop_steps(i, moves);
                return true;
            }
        }
        false
    }

    /// Drops all but the newest batch, when the others hold nothing but ends and are too many. The predictor ends all requests of a
    /// run when it sees the next one, so these ends need not reach it. The live requests are announced anew, also on a connection that
    /// has sent nothing yet. One that has sent something is of the old run: the predictor ends it, and the link connects again.
    fn begin_another_run(&mut self) {
        let ends = self.queue.len().saturating_sub(1);
        self.bytes -= self.queue.drain(..ends).map(|queued| queued.bytes).sum::<usize>();
        self.dropped_steps += ends as u64;
        self.live.on_acknowledged(self.sequence_number - 1);
        self.take_epoch(self.run.epoch.saturating_add(1));
        self.on_connected();
    }

    /// Whether the ends in batch `i` of the queue fit into the one behind it.
    fn can_take_ends(&self, i: usize) -> bool {
        let QueuedBatch { batch, .. } = &self.queue[i];
        let next = &self.queue[i + 1];
        let finished = batch.events.iter().filter(|event| event.finish_reason.is_some());
        let moved = batch.ended.len() + finished.count();
        moved <= MAX_MOVED_ENDS
            && next.batch.entries() + moved <= parts::MOST_ENTRIES
            && next.bytes + moved * RequestEnded::MOST_BYTES <= parts::MOST_BYTES
    }

    fn drop_steps(&mut self, i: usize, moves: bool) {
        let is_sent = i < self.sent;
        let QueuedBatch { batch, bytes, .. } = &mut self.queue[i];
        let events = std::mem::take(&mut batch.events);
        let started = std::mem::take(&mut batch.started);
        let mut ended = std::mem::take(&mut batch.ended);
        let number = batch.sequence_number;
        self.bytes -= *bytes;
        self.dropped_steps += u64::from(moves || !events.is_empty());
        started.iter().for_each(|started| self.live.on_start_dropped(started, is_sent));
        if !is_sent {
            events.iter().for_each(|event| self.live.on_step_dropped(event));
        }
        ended.extend(events.into_iter().filter_map(|event| {
            let (request_id, output_length) = (event.request_id, event.step);
            event.finish_reason.map(|finish_reason| RequestEnded { request_id, finish_reason, output_length })
        }));
        let target = if moves {
            self.queue.remove(i);
            self.sent -= usize::from(is_sent);
            &mut self.queue[i]
        } else {
            // Its own bytes are counted anew below.
            self.queue[i].bytes = 0;
            &mut self.queue[i]
        };
        let number = if moves { target.batch.sequence_number } else { number };
        ended.retain(|ended| self.live.move_end(ended, number));
        target.batch.ended.extend(ended);
        self.bytes -= target.bytes;
        target.bytes = target.batch.wire_bytes();
        self.bytes += target.bytes;
    }

    /// A new connection: everything unacknowledged goes out again, and the live requests are announced.
    pub(crate) fn on_connected(&mut self) {
        self.sent = 0;
        let first = self.queue.front().map_or(self.sequence_number + 1, |queued| queued.batch.sequence_number);
        self.live.on_connected(first, self.queue.iter().map(|queued| &queued.batch));
    }

    /// The next batch to send on this connection, if there is one and the window is open. Once none waits, requests that are
    /// not announced yet make a batch of their own.
    pub(crate) fn next_to_send(&mut self) -> Option<StepBatch> {
        if self.sent >= MAX_UNACKNOWLEDGED_BATCHES || self.entries_in_flight() >= MAX_UNACKNOWLEDGED_ENTRIES {
            return None;
        }
        if self.sent == self.queue.len() {
            if !self.live.has_unannounced() {
                return None;
            }
            let batch = self.number(StepReport { load: self.load, ..StepReport::default() }, self.timestamp_micros);
            self.enqueue(batch);
        }
        let mut batch = self.queue.get(self.sent)?.batch.clone();
        self.sent += 1;
        self.live.complete(&mut batch);
        Some(batch)
    }

    fn entries_in_flight(&self) -> u64 {
        let (Some(first), Some(last)) = (self.queue.front(), self.sent.checked_sub(1).and_then(|i| self.queue.get(i)))
        else {
            return 0;
        };
        last.entries_until.saturating_sub(first.entries_until) + first.batch.entries() as u64
    }

    /// Forgets everything up to batch `number`.
    ///
    /// # Errors
    /// When there is no such batch yet: somebody else sends as this run, and numbers without regard to what was sent here. Nothing
    /// is forgotten then; gives the epoch with which the run is told apart from the other one.
    pub(crate) fn on_acknowledged(&mut self, number: u64) -> Result<(), u64> {
        if number > self.sequence_number {
            return Err(self.run.epoch.saturating_add(1));
        }
        self.acknowledged = self.acknowledged.max(number);
        while self.queue.front().is_some_and(|queued| queued.batch.sequence_number <= number) {
            self.bytes -= self.queue.pop_front().map_or(0, |queued| queued.bytes);
            self.sent = self.sent.saturating_sub(1);
        }
        self.live.on_acknowledged(number);
        Ok(())
    }

    /// Goes on as another run of the worker, with the same numbers: what is unacknowledged belongs to it, and the next connection
    /// announces the live requests.
    pub(crate) fn take_epoch(&mut self, epoch: u64) {
        self.run.epoch = epoch;
        self.queue.iter_mut().for_each(|queued| queued.batch.run.epoch = epoch);
    }

    /// The run that batches are of.
    pub(crate) fn run(&self) -> &WorkerRun {
        &self.run
    }

    /// Whether everything told so far is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of the newest batch, of the last acknowledged one, and how many were dropped.
    pub(crate) fn progress(&self) -> (u64, u64, u64) {
        (self.sequence_number, self.acknowledged, self.dropped_steps)
    }
}
