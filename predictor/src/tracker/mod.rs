//! [`Tracker`]: live requests, their features and forecasts. Pure: messages in; estimates, log lines and counts out.

mod live;
mod steps;
mod views;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trained_tests;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use eoscast_proto::domain::{
    FinishReason, LengthEstimate, LengthPrior, RequestEnded, RequestId, RequestStarted, StepBatch, StepEvent, WorkerId,
};
use eoscast_proto::status::ServiceError;

use crate::accuracy::{Accuracy, ModelAccuracy};
use crate::recovery::Recovered;
use eoscast_forecast::history::History;
use eoscast_forecast::models::{Artifact, LengthModel, ModelKind, ModelVersion, Serving};
use eoscast_log::record::{Lines, seconds};
use live::LiveRequest;
use steps::{Step, take_in};
pub use views::{ModelInfo, RequestKey};

/// Most live requests of all workers together, at about 3.7 KiB each.
const MOST_LIVE: usize = 65_536;
/// Most workers known at a time.
const MOST_WORKERS: usize = 1_024;
/// A worker without stream and live requests is forgotten after this long, and with it which of its messages were seen.
const FORGET_WORKER: Duration = Duration::from_secs(3600);

/// Names one open stream; later streams have larger numbers.
pub type StreamId = u64;

/// What one message led to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Of requests that started or took a step, and go on.
    pub estimates: Vec<LengthEstimate>,
    /// To be written before the message is acknowledged.
    pub lines: Lines,
    /// Every message of this run up to here is applied.
    pub acknowledged: u64,
    /// What was out of the ordinary.
    pub tally: Tally,
    /// An older stream of the same worker, to be ended.
    pub superseded: Option<StreamId>,
}

/// Out-of-the-ordinary things that are tolerated and counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages seen before.
    pub duplicate_messages: u64,
    /// Messages that were skipped by the worker's numbering.
    pub missing_messages: u64,
    /// Events of steps that were seen before; not applied.
    pub duplicate_steps: u64,
    /// Events that do not follow the step before; applied at their own step.
    pub step_gaps: u64,
    /// Events and ends of requests that are not live; not applied.
    pub unknown_requests: u64,
}

#[derive(Default)]
struct Worker {
    epoch: u64,
    last_applied: u64,
    /// Empty places are those of requests whose step is being [taken in](steps).
    live: BTreeMap<RequestId, Option<Box<LiveRequest>>>,
    stream: Option<StreamId>,
    /// Since when there is no stream.
    alone_since: Option<Instant>,
    /// After a restart: the message that the log tells of last, perhaps in part; it counts as not applied.
    last_logged: u64,
    /// Requests whose last event is in the log and stands in that message.
    finished_last: HashSet<RequestId>,
}

/// The single place where messages of all workers come together, in one order.
pub struct Tracker {
    kind: ModelKind,
    artifact: Option<Artifact>,
    models: Serving,
    history: History,
    accuracy: Accuracy,
    workers: BTreeMap<WorkerId, Worker>,
}

impl Tracker {
    /// Goes on from what the log knows. The lines are the outcomes of requests that a newer run of their worker has ended.
    pub fn new(kind: ModelKind, artifact: Option<Artifact>, recovered: Recovered, now: Instant) -> (Self, Lines) {
        let models = Serving::new(kind, artifact.as_ref(), &recovered.history);
        let mut tracker = Self {
            kind,
            artifact,
            models,
            history: recovered.history,
            accuracy: Accuracy::default(),
            workers: BTreeMap::new(),
        };
        for run in recovered.last.keys().chain(recovered.live.iter().map(|request| request.logged.run())) {
            let worker = tracker.workers.entry(run.worker_id.clone()).or_default();
            worker.epoch = worker.epoch.max(run.epoch);
            worker.alone_since = Some(now);
        }
        for (run, last) in recovered.last {
            if let Some(worker) = tracker.workers.get_mut(&run.worker_id).filter(|worker| worker.epoch == run.epoch) {
                worker.last_applied = last.saturating_sub(1);
                worker.last_logged = last;
            }
        }
        for (run, request_id) in recovered.finished_last {
            if let Some(worker) = tracker.workers.get_mut(&run.worker_id).filter(|worker| worker.epoch == run.epoch) {
                worker.finished_last.insert(request_id);
            }
        }
        let mut lines = Lines::default();
        for request in recovered.live {
            let Some(worker) = tracker.workers.get_mut(&request.logged.run().worker_id) else { continue };
            let (epoch, request_id) = (request.logged.run().epoch, request.logged.started().request_id.clone());
            let model = tracker.models.model_for(&request.logged.started().model);
            let live = LiveRequest::recovered(request, model);
            if worker.epoch == epoch {
                worker.live.insert(request_id, Some(live.into()));
            } else {
                let line = live.conclude(FinishReason::Abort, 0, 0.0, &tracker.models, &mut tracker.history);
                lines.requests.extend(line);
            }
        }
        tracker.learn(&lines);
        (tracker, lines)
    }

    /// Applies one message of `stream`. A message seen before is answered with the current estimates of its requests.
    ///
    /// # Errors
    /// When the worker has a newer run, or there are too many workers or requests; nothing is applied then.
    pub fn apply(&mut self, batch: &StepBatch, stream: StreamId) -> Result<Applied, ServiceError> {
        let worker = admit(&mut self.workers, batch)?;
        let mut applied = Applied { superseded: worker.stream.filter(|other| *other != stream), ..Applied::default() };
        worker.stream = Some(stream);
        worker.alone_since = None;
        let at = seconds(batch.timestamp_micros);
        if worker.epoch < batch.run.epoch {
            let old = std::mem::take(worker);
            *worker = Worker { epoch: batch.run.epoch, stream: Some(stream), ..Worker::default() };
            let ended = old.live.into_values().flatten();
            applied.lines.requests.extend(
                ended.filter_map(|live| live.conclude(FinishReason::Abort, 0, at, &self.models, &mut self.history)),
            );
        }
        if batch.sequence_number <= worker.last_applied {
            applied.tally.duplicate_messages = 1;
            let ids = batch.started.iter().map(|s| &s.request_id).chain(batch.events.iter().map(|e| &e.request_id));
            applied.estimates.extend(ids.filter_map(|id| worker.live.get(id)?.as_deref()).map(LiveRequest::estimate));
        } else {
            let finished_last = std::mem::take(&mut worker.finished_last);
            let is_last_logged = batch.sequence_number == worker.last_logged;
            // Of a worker not known before, earlier messages are none of ours.
            let known = worker.last_applied.max(worker.last_logged);
            applied.tally.missing_messages =
                if known == 0 { 0 } else { batch.sequence_number.saturating_sub(known).saturating_sub(1) };
            worker.last_applied = batch.sequence_number;
            let mut message = Message {
                worker,
                models: &self.models,
                history: &mut self.history,
                accuracy: &mut self.accuracy,
                at,
                applied: &mut applied,
                batch,
                model: self.models.model(),
                steps: vec![],
            };
            for started in &batch.started {
                if !(is_last_logged && finished_last.contains(&started.request_id)) {
                    message.start(started);
                }
            }
            for event in &batch.events {
                message.step(event);
            }
            message.take_in();
            for ended in &batch.ended {
                message.end(ended);
            }
        }
        applied.acknowledged = worker.last_applied;
        self.learn(&applied.lines);
        Ok(applied)
    }

    /// Outcomes reach the model after the message they came in, so that its estimates are all from one state.
    fn learn(&mut self, lines: &Lines) {
        for line in &lines.requests {
            self.models.observe(line.outcome());
        }
    }

    /// Notes that `stream` is closed; its worker's requests stay live for a while.
    pub fn disconnect(&mut self, stream: StreamId, now: Instant) {
        if let Some(worker) = self.workers.values_mut().find(|worker| worker.stream == Some(stream)) {
            worker.stream = None;
            worker.alone_since = Some(now);
        }
    }

    /// Ends the requests of workers that have had no stream for `timeout`, at `at` seconds since 1970.
    pub fn expire(&mut self, now: Instant, timeout: Duration, at: f64) -> Lines {
        let mut lines = Lines::default();
        self.workers.retain(|_, worker| {
            let alone = worker.alone_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            if worker.alone_since.is_some() && alone >= timeout {
                let ended = std::mem::take(&mut worker.live).into_values().flatten();
                lines.requests.extend(
                    ended.filter_map(|live| live.conclude(FinishReason::Abort, 0, at, &self.models, &mut self.history)),
                );
            }
            alone < FORGET_WORKER.max(timeout)
        });
        self.learn(&lines);
        lines
    }

    /// Swaps in the model that `artifact` describes, with the outcomes so far. An artifact of the prior leaves a threshold in
    /// place.
    pub fn swap(&mut self, artifact: Artifact) {
        if (self.kind, artifact.kind) != (ModelKind::Threshold, ModelKind::Prior) {
            self.kind = artifact.kind;
        }
        self.models = Serving::new(self.kind, Some(&artifact), &self.history);
        self.artifact = Some(artifact);
        for live in self.workers.values_mut().flat_map(|worker| worker.live.values_mut().flatten()) {
            let model = self.models.model_for(&live.started().model);
            live.swap(model);
        }
    }

    /// Whether the model answers for requests of the generating model `name`; else the prior does.
    pub fn serves(&self, name: &str) -> bool {
        self.models.serves(name)
    }

    /// The version of the model that answers, without the outcomes.
    pub fn model_family(&self) -> String {
        ModelVersion::family_of(self.models.model())
    }

    /// What answers now: the kind, the artifact and the outcomes so far.
    pub fn serving(&self) -> (ModelKind, Option<Artifact>, History) {
        (self.kind, self.artifact.clone(), self.history.clone())
    }

    /// How long replies are before anything is known of them.
    pub fn length_prior(&self) -> LengthPrior {
        self.models.model().prior().length_prior()
    }

    /// How good the forecasts of finished requests were, since the start.
    pub fn accuracy(&self) -> Vec<ModelAccuracy> {
        self.accuracy.report()
    }

    /// Outcomes that [`accuracy`](Self::accuracy) has taken in.
    pub fn judged_outcomes(&self) -> u64 {
        self.accuracy.outcomes()
    }

    /// Outcomes so far.
    pub fn outcomes(&self) -> u64 {
        self.history.seen
    }
}

/// The worker's state, if the message may be applied to it.
fn admit<'a>(workers: &'a mut BTreeMap<WorkerId, Worker>, batch: &StepBatch) -> Result<&'a mut Worker, ServiceError> {
    let full = |message: String| ServiceError::ResourceExhausted { message, retry_after: Duration::from_secs(60) };
    if !workers.contains_key(&batch.run.worker_id) && workers.len() >= MOST_WORKERS {
        return Err(full(format!("{MOST_WORKERS} workers are known; idle ones are forgotten after an hour")));
    }
    let live: usize = if batch.started.is_empty() { 0 } else { workers.values().map(|worker| worker.live.len()).sum() };
    if live + batch.started.len() > MOST_LIVE {
        return Err(full(format!("there are {live} live requests, the most is {MOST_LIVE}; end some first")));
    }
    let worker = workers
        .entry(batch.run.worker_id.clone())
        .or_insert_with(|| Worker { epoch: batch.run.epoch, ..Worker::default() });
    if batch.run.epoch < worker.epoch {
        return Err(ServiceError::FailedPrecondition(format!(
            "epoch {} of worker {} is over, a run with epoch {} has begun",
            batch.run.epoch, batch.run.worker_id, worker.epoch
        )));
    }
    Ok(worker)
}

/// One message on its way into the state of its worker.
struct Message<'a> {
    worker: &'a mut Worker,
    models: &'a Serving,
    history: &'a mut History,
    accuracy: &'a mut Accuracy,
    at: f64,
    applied: &'a mut Applied,
    batch: &'a StepBatch,
    /// The model that is asked about `steps`.
    model: &'a dyn LengthModel,
    /// To be taken in together.
    steps: Vec<Step<'a>>,
}

impl<'a> Message<'a> {
    fn start(&mut self, started: &RequestStarted) {
        let model = self.models.model_for(&started.model);
        let place = self.worker.live.entry(started.request_id.clone()).or_default();
        let live = place.get_or_insert_with(|| {
            let live = LiveRequest::new(started.clone(), self.batch.run.clone(), self.at, model);
            self.applied.lines.starts.push(live.start_line(self.batch.sequence_number));
            live.into()
        });
        self.applied.estimates.push(live.estimate());
    }

    fn step(&mut self, event: &'a StepEvent) {
        let live = match self.worker.live.get_mut(&event.request_id).map(Option::take) {
            // Its step before is in this message, too.
            Some(None) => {
                self.take_in();
                self.worker.live.get_mut(&event.request_id).and_then(Option::take)
            }
            known => known.flatten(),
        };
        let Some(live) = live else {
            self.applied.tally.unknown_requests += 1;
            return;
        };
        if event.step <= live.last_step() {
            self.applied.tally.duplicate_steps += 1;
            return self.put_back(live, event);
        }
        self.applied.tally.step_gaps += u64::from(live.last_step() > 0 && event.step > live.last_step() + 1);
        let model = self.models.model_for(&live.started().model);
        if !std::ptr::addr_eq(model, self.model) {
            self.take_in();
            self.model = model;
        }
        self.steps.push(Step { live, event });
    }

    /// Takes in the steps that have gathered.
    fn take_in(&mut self) {
        take_in(&mut self.steps, self.model, self.at, self.batch.sequence_number, self.applied);
        for Step { live, event } in std::mem::take(&mut self.steps) {
            match event.finish_reason {
                None => self.put_back(live, event),
                Some(reason) => self.conclude(live, &event.request_id, reason, event.step),
            }
        }
    }

    fn put_back(&mut self, live: Box<LiveRequest>, event: &StepEvent) {
        if let Some(place) = self.worker.live.get_mut(&event.request_id) {
            *place = Some(live);
        }
    }

    fn end(&mut self, ended: &RequestEnded) {
        match self.worker.live.get_mut(&ended.request_id).and_then(Option::take) {
            Some(live) => self.conclude(live, &ended.request_id, ended.finish_reason, ended.output_length),
            None => self.applied.tally.unknown_requests += 1,
        }
    }

    fn conclude(&mut self, live: Box<LiveRequest>, request_id: &RequestId, reason: FinishReason, output_length: u32) {
        self.worker.live.remove(request_id);
        let watched = live.watched().clone();
        if let Some(line) = live.conclude(reason, output_length, self.at, self.models, self.history) {
            self.accuracy.observe(&watched, &line);
            self.applied.lines.requests.push(line);
        }
    }
}
