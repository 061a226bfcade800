//! [`Tracker`]: live requests, their features and forecasts. Pure: messages in; estimates, log lines and counts out.
//!
//! A message is one step in three parts: [`accept`](accept::accept) it, [fold](steps) its events in and forecast,
//! [`emit`] estimates and lines. The last two go group by group, so that a group's requests stay in the cache.

mod accept;
mod applied;
mod changes;
mod emit;
mod live;
mod outcomes;
mod steps;
mod views;
mod worker;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trained_tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{LengthPrior, StepBatch, WorkerId};
use eoscast_proto::status::ServiceError;

use crate::accuracy::{Accuracy, ModelAccuracy};
use crate::recovery::Recovered;
use accept::{Accepted, accept};
pub use applied::{Applied, Tally};
use changes::Changes;
pub use changes::{RequestKey, TakenChanges};
use emit::{Emitter, aborted};
use eoscast_forecast::history::History;
use eoscast_forecast::models::{Artifact, ModelKind, ModelVersion, Serving};
use eoscast_log::record::Lines;
use live::LiveRequest;
use outcomes::Outcomes;
use steps::{Group, start};
pub use views::{ModelInfo, WorkerOutstanding};
pub use worker::StreamId;
use worker::Worker;

/// A worker without stream and live requests is forgotten after this long, and with it which of its messages were seen.
const FORGET_WORKER: Duration = Duration::from_secs(3600);

/// The single place where messages of all workers come together, in one order.
pub struct Tracker {
    kind: ModelKind,
    artifact: Option<Artifact>,
    models: Serving,
    outcomes: Outcomes,
    accuracy: Accuracy,
    workers: BTreeMap<WorkerId, Worker>,
    /// Noted while somebody watches.
    changes: Option<Changes>,
}

impl Tracker {
    /// Goes on from what the log knows. The lines are the outcomes of requests that a newer run of their worker has ended.
    pub fn new(kind: ModelKind, artifact: Option<Artifact>, recovered: Recovered, now: Instant) -> (Self, Lines) {
        let models = Serving::new(kind, artifact.as_ref(), &recovered.history);
        let mut tracker = Self {
            kind,
            artifact,
            models,
            outcomes: Outcomes::new(recovered.history, recovered.learned_from, now),
            accuracy: Accuracy::default(),
            workers: BTreeMap::new(),
            changes: None,
        };
        let runs = recovered.last.keys().chain(recovered.live.iter().map(|request| request.logged.run()));
        for run in runs.filter(|run| run.epoch <= recovered.latest_epoch) {
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
            let worker = tracker.workers.get_mut(&request.logged.run().worker_id);
            let (epoch, request_id) = (request.logged.run().epoch, request.logged.started().request_id.clone());
            let model = tracker.models.model_for(&request.logged.started().model);
            let live = Box::new(LiveRequest::recovered(request, model));
            match worker.filter(|worker| worker.epoch == epoch) {
                Some(worker) => drop(worker.live.insert(request_id, Some(live))),
                None => lines.requests.extend(aborted([live], 0.0, &tracker.models, &mut tracker.outcomes)),
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
        let Accepted { worker, is_new, missing_messages, superseded, ended_runs, finished } =
            accept(&mut self.workers, batch, stream)?;
        let mut emit = Emitter::new(batch, &self.models, &mut self.outcomes, &mut self.accuracy);
        ended_runs.into_iter().for_each(|run| emit.ended_run(run));
        if is_new {
            emit.applied.tally.missing_messages = missing_messages;
            for started in batch.started.iter().filter(|started| !finished.contains(&started.request_id)) {
                let (live, is_first) = start(worker, started, &batch.run, emit.at, &self.models);
                emit.arrival(live, is_first);
            }
            let mut events = batch.events.iter().peekable();
            let mut group = Group::new(&self.models);
            while group.fill(worker, &mut events, &mut emit.applied.tally) {
                group.fold_and_predict(emit.at);
                emit.steps(worker, &mut group);
            }
            for ended in &batch.ended {
                emit.end(worker, ended);
            }
        } else {
            emit.duplicate(worker, batch);
        }
        let mut applied = emit.applied;
        (applied.acknowledged, applied.superseded) = (worker.last_applied, superseded);
        self.learn(&applied.lines);
        self.note_message(batch, &applied.lines);
        Ok(applied)
    }

    /// Outcomes reach the model after the message they came in, so that its estimates are all from one state.
    fn learn(&mut self, lines: &Lines) {
        for line in lines.requests.iter().filter(|line| line.is_learned()) {
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
        self.outcomes.set_now(now);
        self.workers.retain(|_, worker| {
            let alone = worker.alone_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            if worker.alone_since.is_some() && alone >= timeout {
                worker.is_given_up = true;
                lines.requests.extend(aborted(worker.take_all(), at, &self.models, &mut self.outcomes));
            }
            alone < FORGET_WORKER.max(timeout)
        });
        self.learn(&lines);
        self.note_ends(&lines);
        lines
    }

    /// Swaps in the model that `artifact` describes, with the outcomes so far. An artifact of the prior leaves a threshold in
    /// place.
    pub fn swap(&mut self, artifact: Artifact) {
        if (self.kind, artifact.kind) != (ModelKind::Threshold, ModelKind::Prior) {
            self.kind = artifact.kind;
        }
        self.models = Serving::new(self.kind, Some(&artifact), &self.outcomes.history);
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
        (self.kind, self.artifact.clone(), self.outcomes.history.clone())
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
        self.outcomes.history.seen
    }
}
