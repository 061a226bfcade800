//! What can be asked of a [`Tracker`].

use std::ops::Bound;

use eoscast_proto::domain::{LengthPrior, RequestId, RequestState, WorkerId};
use eoscast_proto::status::ServiceError;

use crate::accuracy::ModelAccuracy;

use super::{LiveRequest, Tracker, Worker};

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

/// Names a live request; live requests are listed in this order.
pub type RequestKey = (WorkerId, RequestId);

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
            .filter_map(|(id, worker)| Some((id, visible(worker.live.get(request_id)?.as_deref()?)?)));
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

    /// Live requests of all workers.
    pub fn live_requests(&self) -> usize {
        self.workers.values().map(|worker: &Worker| worker.live.len()).sum()
    }

    /// The model that answers.
    pub fn model_info(&self) -> ModelInfo {
        ModelInfo {
            source: self.models.model().name().to_owned(),
            version: self.models.model().version().as_ref().to_owned(),
            artifact: self.artifact.as_ref().map_or(String::new(), |artifact| artifact.path.display().to_string()),
            outcomes: self.history.seen,
            censored_outcomes: self.history.censored,
            prior_window: self.models.model().prior().window(),
            prior: self.length_prior(),
            accuracy: self.accuracy(),
            trained_for: self.models.model().trained_for().to_vec(),
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
