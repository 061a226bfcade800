//! What still has to reach the predictor: pure bookkeeping, no I/O.
//!
//! Batches stay until they are acknowledged, so that a new connection can resend them. When too many are waiting the oldest
//! goes, but only its step events are lost: starts and ends move to the batch behind it.

use std::collections::{HashMap, VecDeque};

use eoscast_proto::domain::{EngineLoad, RequestEnded, RequestId, RequestStarted, StepBatch, StepEvent, WorkerRun};

/// Batches kept for a predictor that does not acknowledge; then steps are dropped.
const CAPACITY: usize = 4096;
/// Batches in flight on one connection.
const WINDOW: usize = 1024;
const _: () = assert!(WINDOW <= eoscast_proto::transport::MOST_UNACKNOWLEDGED);
/// Steps that wait for each other while nothing hangs on their estimates: to wake predictor and connection costs more than what
/// they then do, and both may need the cores that compute.
const STEPS_A_MESSAGE: usize = 8;

/// What one step has to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// Requests that arrived.
    pub started: Vec<RequestStarted>,
    /// One per sampled token.
    pub events: Vec<StepEvent>,
    /// Requests that ended without a token.
    pub ended: Vec<RequestEnded>,
    /// How busy the engine is.
    pub load: EngineLoad,
}

/// Numbers, keeps and repeats step batches.
#[derive(Debug)]
pub struct Outbox {
    run: WorkerRun,
    sequence_number: u64,
    acknowledged: u64,
    /// Unacknowledged, oldest first.
    queue: VecDeque<StepBatch>,
    /// How many of the queue went out on the present connection.
    sent: usize,
    /// The next batch sent announces the live requests.
    announce: bool,
    requests: HashMap<RequestId, Known>,
    dropped_steps: u64,
}

/// A request whose end has not been acknowledged.
#[derive(Debug)]
struct Known {
    started: RequestStarted,
    /// Batch that tells the start.
    started_in: u64,
    /// Tokens generated up to the newest batch.
    output_length: u32,
    /// Batch that tells the end.
    ended_in: Option<u64>,
}

impl Outbox {
    /// An empty outbox of one run of a worker.
    pub fn new(run: WorkerRun) -> Self {
        Self {
            run,
            sequence_number: 0,
            acknowledged: 0,
            queue: VecDeque::new(),
            sent: 0,
            announce: true,
            requests: HashMap::new(),
            dropped_steps: 0,
        }
    }

    /// Makes the next batch of what a step has to tell.
    pub fn number(&mut self, report: StepReport, timestamp_micros: i64) -> StepBatch {
        self.sequence_number += 1;
        let StepReport { started, events, ended, load } = report;
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
    pub fn push(&mut self, report: StepReport, timestamp_micros: i64) -> bool {
        let batch = self.number(report, timestamp_micros);
        let is_urgent = batch.load.waiting_requests > 0
            || !(batch.started.is_empty() && batch.ended.is_empty())
            || batch.events.iter().any(|event| event.finish_reason.is_some());
        self.remember(&batch);
        self.queue.push_back(batch);
        if self.queue.len() > CAPACITY {
            self.drop_oldest();
        }
        is_urgent || self.queue.len() - self.sent >= STEPS_A_MESSAGE
    }

    fn remember(&mut self, batch: &StepBatch) {
        let number = batch.sequence_number;
        for started in &batch.started {
            let known = Known { started: started.clone(), started_in: number, output_length: 0, ended_in: None };
            self.requests.insert(started.request_id.clone(), known);
        }
        for event in &batch.events {
            if let Some(known) = self.requests.get_mut(&event.request_id) {
                known.output_length = event.step;
                known.ended_in = event.finish_reason.map(|_| number);
            }
        }
        for ended in &batch.ended {
            if let Some(known) = self.requests.get_mut(&ended.request_id) {
                known.ended_in = Some(number);
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.queue.pop_front() else { return };
        let Some(next) = self.queue.front_mut() else { return };
        self.sent = self.sent.saturating_sub(1);
        self.dropped_steps += 1;
        for mut started in oldest.started {
            if let Some(event) = oldest.events.iter().find(|event| event.request_id == started.request_id) {
                started.output_length = event.step;
            }
            if let Some(known) = self.requests.get_mut(&started.request_id) {
                known.started_in = next.sequence_number;
            }
            next.started.push(started);
        }
        let ended_with_token = oldest.events.into_iter().filter_map(|event| {
            let output_length = event.step;
            event.finish_reason.map(|reason| RequestEnded {
                request_id: event.request_id,
                finish_reason: reason,
                output_length,
            })
        });
        for ended in oldest.ended.into_iter().chain(ended_with_token) {
            if let Some(known) = self.requests.get_mut(&ended.request_id) {
                known.ended_in = Some(next.sequence_number);
            }
            // Nothing was told of it yet, so nothing is missed.
            let untold = next.started.iter().position(|started| started.request_id == ended.request_id);
            match untold {
                Some(i) => {
                    next.started.remove(i);
                    self.requests.remove(&ended.request_id);
                }
                None => next.ended.push(ended),
            }
        }
    }

    /// A new connection: everything unacknowledged goes out again, and the first batch announces the live requests.
    pub fn on_connected(&mut self) {
        self.sent = 0;
        self.announce = true;
    }

    /// The next batch to send on this connection, if there is one and the window is open.
    pub fn next_to_send(&mut self) -> Option<StepBatch> {
        if self.sent >= WINDOW {
            return None;
        }
        let mut batch = self.queue.get(self.sent)?.clone();
        self.sent += 1;
        if std::mem::take(&mut self.announce) {
            batch.started.splice(0..0, self.announcements(batch.sequence_number));
        }
        Some(batch)
    }

    /// The requests that were live before batch `number`, with the tokens they had by then.
    fn announcements(&self, number: u64) -> Vec<RequestStarted> {
        let mut first_steps: HashMap<&RequestId, u32> = HashMap::new();
        for event in self.queue.iter().flat_map(|batch| &batch.events) {
            first_steps.entry(&event.request_id).or_insert(event.step);
        }
        let live_before = |known: &&Known| known.started_in < number && known.ended_in.is_none_or(|end| end >= number);
        let mut announcements: Vec<RequestStarted> = self
            .requests
            .values()
            .filter(live_before)
            .map(|known| RequestStarted {
                output_length: first_steps
                    .get(&known.started.request_id)
                    .map_or(known.output_length, |first| first.saturating_sub(1)),
                ..known.started.clone()
            })
            .collect();
        announcements.sort_by(|a, b| a.request_id.cmp(&b.request_id));
        announcements
    }

    /// Forgets everything up to batch `number`.
    pub fn on_acknowledged(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number.min(self.sequence_number));
        while self.queue.front().is_some_and(|batch| batch.sequence_number <= number) {
            self.queue.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        self.requests.retain(|_, known| known.ended_in.is_none_or(|end| end > number));
    }

    /// Whether everything told so far is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of the newest batch, of the last acknowledged one, and how many were dropped.
    pub fn progress(&self) -> (u64, u64, u64) {
        (self.sequence_number, self.acknowledged, self.dropped_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_proto::domain::FinishReason;

    fn outbox() -> Outbox {
        Outbox::new(WorkerRun::for_test("w"))
    }

    fn id(name: &str) -> RequestId {
        name.to_owned().try_into().unwrap()
    }

    fn start(name: &str) -> StepReport {
        let started = RequestStarted::for_test(name);
        StepReport { started: vec![started], ..Default::default() }
    }

    fn step(name: &str, step: u32, finish_reason: Option<FinishReason>) -> StepReport {
        let event = StepEvent { step, finish_reason, ..StepEvent::for_test(name) };
        StepReport { events: vec![event], ..Default::default() }
    }

    fn sent(outbox: &mut Outbox) -> Vec<StepBatch> {
        std::iter::from_fn(|| outbox.next_to_send()).collect()
    }

    fn numbers(batches: &[StepBatch]) -> Vec<u64> {
        batches.iter().map(|batch| batch.sequence_number).collect()
    }

    #[test]
    fn batches_go_out_once_and_in_order() {
        let mut outbox = outbox();
        outbox.push(start("a"), 0);
        outbox.push(step("a", 1, None), 1);
        assert_eq!(numbers(&sent(&mut outbox)), [1, 2]);
        assert!(sent(&mut outbox).is_empty());
    }

    #[test]
    fn steps_that_decide_nothing_go_out_together_and_others_at_once() {
        let mut outbox = outbox();
        assert!(outbox.push(start("a"), 0), "an arrival wants its forecast");
        sent(&mut outbox);
        let due: Vec<bool> = (1..=STEPS_A_MESSAGE as u32).map(|n| outbox.push(step("a", n, None), 0)).collect();
        assert_eq!(due, [[false; STEPS_A_MESSAGE - 1].as_slice(), &[true]].concat());
        sent(&mut outbox);
        let load = EngineLoad { waiting_requests: 1, ..Default::default() };
        assert!(outbox.push(StepReport { load, ..step("a", 9, None) }, 0), "somebody waits");
        sent(&mut outbox);
        assert!(outbox.push(step("a", 10, Some(FinishReason::Stop)), 0), "the last step, after which none may come");
    }

    #[test]
    fn a_new_connection_gets_what_is_unacknowledged_and_hears_of_live_requests() {
        let mut outbox = outbox();
        outbox.push(start("a"), 0);
        outbox.push(start("b"), 0);
        for n in 1..=3 {
            outbox.push(step("a", n, None), 0);
        }
        outbox.push(step("b", 1, Some(FinishReason::Stop)), 0);
        sent(&mut outbox);
        outbox.on_acknowledged(3);
        outbox.on_connected();
        let again = sent(&mut outbox);
        assert_eq!(numbers(&again), [4, 5, 6]);
        let announced: Vec<_> = again[0].started.iter().map(|s| (s.request_id.as_str(), s.output_length)).collect();
        assert_eq!(announced, [("a", 1), ("b", 0)]);
        assert!(again[1].started.is_empty());
    }

    #[test]
    fn a_request_whose_end_is_acknowledged_is_not_announced_again() {
        let mut outbox = outbox();
        outbox.push(start("a"), 0);
        outbox.push(step("a", 1, Some(FinishReason::Stop)), 0);
        sent(&mut outbox);
        outbox.on_acknowledged(2);
        outbox.on_connected();
        outbox.push(start("b"), 0);
        let batches = sent(&mut outbox);
        assert_eq!(batches[0].started.len(), 1);
        assert_eq!(batches[0].started[0].request_id, id("b"));
    }

    #[test]
    fn an_overflow_loses_steps_but_no_start_and_no_end() {
        let mut outbox = outbox();
        outbox.push(start("ended-early"), 0);
        outbox.push(step("ended-early", 1, Some(FinishReason::Stop)), 0);
        outbox.push(start("a"), 0);
        outbox.push(step("a", 1, None), 0);
        for _ in 0..CAPACITY {
            outbox.push(step("b", 1, None), 0);
        }
        let (newest, _, dropped) = outbox.progress();
        assert_eq!((newest, dropped), (4 + CAPACITY as u64, 4));
        let first = outbox.next_to_send().unwrap();
        assert_eq!(first.sequence_number, 5);
        assert_eq!(first.started.len(), 1);
        assert_eq!((first.started[0].request_id.as_str(), first.started[0].output_length), ("a", 1));
        assert!(first.ended.is_empty());
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut outbox = outbox();
        for n in 1..=WINDOW as u32 + 5 {
            outbox.push(step("a", n, None), 0);
        }
        assert_eq!(sent(&mut outbox).len(), WINDOW);
        outbox.on_acknowledged(2);
        assert_eq!(numbers(&sent(&mut outbox)), [WINDOW as u64 + 1, WINDOW as u64 + 2]);
    }
}
