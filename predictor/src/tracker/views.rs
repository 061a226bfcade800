//! What can be asked of a [`Tracker`].

use std::ops::Bound;

use eoscast_log::record::Lines;
use eoscast_proto::domain::{LengthPrior, RequestId, RequestState, StepBatch, WorkerId};
use eoscast_proto::status::ServiceError;

use crate::accuracy::ModelAccuracy;

use super::Tracker;
use super::changes::{Changes, RequestKey, TakenChanges};
use super::live::LiveRequest;

/// The model that answers, and what it has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Kind of the model.
    pub source: String,
    /// State of the model.
    pub version: String,
    /// File of its artifact; empty if there is none.
    pub artifact: String,
    /// Outcomes since the event log began.
    pub outcomes: u64,
    /// How many of them were censored.
    pub censored_outcomes: u64,
    /// Outcomes the prior keeps.
    pub prior_window: usize,
    /// Lengths before anything is known of a request.
    pub prior: LengthPrior,
    /// How good forecasts were.
    pub accuracy: Vec<ModelAccuracy>,
    /// Names of the generating model that it was trained for; none if it serves any.
    pub trained_for: Vec<String>,
}

/// The standard normal distribution stays below this with probability 0.9.
const Z_90: f64 = 1.281_551_565_5;

/// What the live requests of a worker will still generate, in tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerOutstanding {
    /// Where they run.
    pub worker_id: WorkerId,
    /// Expected.
    pub mean: f64,
    /// Not exceeded with probability 0.9: a sum of independent lengths is taken to be normal.
    pub p90: f64,
}

impl Tracker {
    /// One live request; `worker_id` may be left out while only one worker has a request of this id.
    ///
    /// # Errors
    /// When there is no such request, or several.
    pub fn request(&self, worker_id: Option<&WorkerId>, request_id: &RequestId) -> Result<RequestState, ServiceError> {
        let mut found = self
            .workers
            .iter()
            .filter(|(id, _)| worker_id.is_none_or(|wanted| wanted == *id))
            .filter_map(|(id, worker)| Some((id, visible(worker.get(request_id)?)?)));
        let Some((id, live)) = found.next() else {
            return Err(ServiceError::NotFound(format!("request {request_id} is not live")));
        };
        if found.next().is_some() {
            return Err(ServiceError::FailedPrecondition(format!(
                "several workers run a request {request_id}; say which with worker_id"
            )));
        }
        Ok(state(id, live))
    }

    /// Up to `count` live requests after `after`, of one worker or of all.
    pub fn requests(
        &self,
        worker_id: Option<&WorkerId>,
        after: Option<&RequestKey>,
        count: usize,
    ) -> Vec<RequestState> {
        let first = after.map(|(worker, _)| worker).or(worker_id);
        let workers = self.workers.range((first.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded));
        workers
            .filter(|(id, _)| worker_id.is_none_or(|wanted| wanted == *id))
            .flat_map(|(id, worker)| {
                let start = match after {
                    Some((worker_id, request_id)) if worker_id == id => Bound::Excluded(request_id),
                    _ => Bound::Unbounded,
                };
                let live = worker.live.range((start, Bound::Unbounded));
                live.filter_map(|(_, live)| visible(live.as_deref()?)).map(move |live| state(id, live))
            })
            .take(count)
            .collect()
    }

    /// What remains of the live requests of the worker that follows `after`, or of the first one.
    pub fn outstanding(&self, after: Option<&WorkerId>) -> Option<WorkerOutstanding> {
        let next = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let (worker_id, worker) = self.workers.range::<WorkerId, _>(next).next()?;
        let live = worker.live.values().flatten().filter_map(|live| visible(live));
        let (mean, variance) = live.fold((0.0, 0.0), |(mean, variance), live| {
            let remaining = live.remaining();
            (mean + f64::from(remaining.mean), variance + remaining.variance())
        });
        Some(WorkerOutstanding { worker_id: worker_id.clone(), mean, p90: mean + Z_90 * variance.sqrt() })
    }

    /// Live requests of all workers.
    pub fn live_requests(&self) -> usize {
        self.workers.values().map(|worker| worker.live.len()).sum()
    }

    /// The model that answers.
    pub fn model_info(&self) -> ModelInfo {
        ModelInfo {
            source: self.models.model().name().to_owned(),
            version: self.models.model().version().as_ref().to_owned(),
            artifact: self.artifact.as_ref().map_or(String::new(), |artifact| artifact.path.display().to_string()),
            outcomes: self.outcomes.history.seen,
            censored_outcomes: self.outcomes.history.censored,
            prior_window: self.models.model().prior().window(),
            prior: self.length_prior(),
            accuracy: self.accuracy(),
            trained_for: self.models.model().trained_for().to_vec(),
        }
    }

    /// Notes changes from now on, or no more.
    pub fn note_changes(&mut self, wanted: bool) {
        self.changes = wanted.then(Changes::default);
        for live in self.workers.values_mut().flat_map(|worker| worker.live.values_mut().flatten()) {
            live.is_marked = false;
        }
    }

    /// Up to `count` changed requests, and what has ended; nothing if changes are not noted, or more came together than are kept: a
    /// view begins anew then.
    pub fn take_changes(&mut self, count: usize) -> Option<TakenChanges> {
        let changes = self.changes.as_mut().filter(|changes| !changes.is_incomplete)?;
        let keys = changes.changed.split_off(changes.changed.len().saturating_sub(count));
        let (ended, has_more) = (std::mem::take(&mut changes.ended), !changes.changed.is_empty());
        let mut changed = Vec::with_capacity(keys.len());
        for (worker_id, request_id) in keys {
            if let Some(live) = self.workers.get_mut(&worker_id).and_then(|worker| worker.get_mut(&request_id)) {
                live.is_marked = false;
                changed.extend(visible(live).map(|live| state(&worker_id, live)));
            }
        }
        Some(TakenChanges { ended, changed, has_more })
    }

    /// Notes what a message led to.
    pub(super) fn note_message(&mut self, batch: &StepBatch, lines: &Lines) {
        self.note_ends(lines);
        let Some(changes) = &mut self.changes else { return };
        let Some(worker) = self.workers.get_mut(&batch.run.worker_id) else { return };
        let started = batch.started.iter().map(|started| &started.request_id);
        let ids = started.chain(batch.events.iter().map(|event| &event.request_id));
        changes.note(|noted| {
            for id in ids {
                if let Some(live) = worker.get_mut(id)
                    && !std::mem::replace(&mut live.is_marked, true)
                {
                    noted.changed.push((batch.run.worker_id.clone(), id.clone()));
                }
            }
        });
    }

    /// Notes the requests that have ended.
    pub(super) fn note_ends(&mut self, lines: &Lines) {
        if let Some(changes) = &mut self.changes {
            changes.note_ends(lines);
        }
    }
}

fn visible(live: &LiveRequest) -> Option<&LiveRequest> {
    (!live.is_concluded()).then_some(live)
}

fn state(worker_id: &WorkerId, live: &LiveRequest) -> RequestState {
    let estimate = live.estimate();
    RequestState {
        worker_id: worker_id.clone(),
        started: live.started().clone(),
        output_length: estimate.step,
        eos_probability: live.eos_probability(),
        estimate,
    }
}
