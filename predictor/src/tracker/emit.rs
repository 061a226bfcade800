//! [`Emitter`]: the last part of a step. Estimates and log lines go straight to where they are sent from.

use eoscast_log::record::{RequestLine, seconds};
use eoscast_proto::domain::{FinishReason, RequestEnded, RequestId, StepBatch};

use super::applied::Applied;
use super::live::LiveRequest;
use super::outcomes::Outcomes;
use super::steps::Group;
use super::worker::{Taken, Worker};
use crate::accuracy::Accuracy;
use eoscast_forecast::models::Serving;

/// Writes what one message led to.
pub(super) struct Emitter<'a> {
    pub(super) applied: Applied,
    models: &'a Serving,
    outcomes: &'a mut Outcomes,
    accuracy: &'a mut Accuracy,
    /// When the step ended, seconds since 1970.
    pub(super) at: f64,
    sequence_number: u64,
}

impl<'a> Emitter<'a> {
    /// With room for what `batch` leads to, so that nothing is moved while it gathers.
    pub(super) fn new(
        batch: &StepBatch,
        models: &'a Serving,
        outcomes: &'a mut Outcomes,
        accuracy: &'a mut Accuracy,
    ) -> Self {
        let mut applied = Applied::default();
        applied.estimates.reserve_exact(batch.started.len() + batch.events.len());
        applied.lines.steps.reserve_exact(batch.events.len());
        let at = seconds(batch.timestamp_micros);
        Self { applied, models, outcomes, accuracy, at, sequence_number: batch.sequence_number }
    }

    /// The requests of a run that is over.
    pub(super) fn ended_run(&mut self, mut run: Worker) {
        self.applied.lines.requests.extend(aborted(run.take_all(), self.at, self.models, self.outcomes));
    }

    /// A message seen before is answered with what holds now.
    pub(super) fn duplicate(&mut self, worker: &Worker, batch: &StepBatch) {
        self.applied.tally.duplicate_messages = 1;
        let ids = batch.started.iter().map(|s| &s.request_id).chain(batch.events.iter().map(|e| &e.request_id));
        self.applied.estimates.extend(ids.filter_map(|id| worker.get(id)).map(LiveRequest::estimate));
    }

    /// A request that was announced; `is_first` if it was not live before.
    pub(super) fn arrival(&mut self, live: &LiveRequest, is_first: bool) {
        if is_first {
            self.applied.lines.starts.push(live.start_line(self.sequence_number));
        }
        self.applied.estimates.push(live.estimate());
    }

    /// The steps of a group, in their order. Their requests go back to their places or end.
    pub(super) fn steps(&mut self, worker: &mut Worker, group: &mut Group<'_>) {
        for step in group.steps.drain(..) {
            if step.goes_on() {
                self.applied.estimates.push(step.live.estimate());
            }
            self.applied.lines.steps.push(step.live.step_line(step.event, self.sequence_number));
            let id = &step.event.request_id;
            match step.event.finish_reason {
                None => worker.put_back(id, step.live),
                Some(reason) => self.conclude(worker, step.live, id, reason, step.event.step),
            }
        }
    }

    /// A request that ended between steps.
    pub(super) fn end(&mut self, worker: &mut Worker, ended: &RequestEnded) {
        match worker.take(&ended.request_id) {
            Taken::Live(live) => {
                self.conclude(worker, live, &ended.request_id, ended.finish_reason, ended.output_length);
            }
            Taken::Out | Taken::Unknown => self.applied.tally.unknown_requests += 1,
        }
    }

    fn conclude(
        &mut self,
        worker: &mut Worker,
        live: Box<LiveRequest>,
        request_id: &RequestId,
        reason: FinishReason,
        output_length: u32,
    ) {
        worker.forget(request_id);
        let watched = live.watched().clone();
        if let Some(line) = live.conclude(reason, output_length, self.at, self.models, self.outcomes) {
            if line.is_learned() {
                self.accuracy.observe(&watched, &line);
            }
            self.applied.lines.requests.push(line);
        }
    }
}

/// The outcomes of requests that are cut at `at` seconds since 1970, counted in `outcomes`.
pub(super) fn aborted(
    live: impl IntoIterator<Item = Box<LiveRequest>>,
    at: f64,
    models: &Serving,
    outcomes: &mut Outcomes,
) -> impl Iterator<Item = RequestLine> {
    live.into_iter().filter_map(move |live| live.conclude(FinishReason::Abort, 0, at, models, outcomes))
}
