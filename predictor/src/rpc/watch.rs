//! `WatchRequests`: one view of the live requests for all who watch. It is brought up to date in pieces, between which messages are
//! applied, and costs what has changed. Watchers read the view and never the tracker.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use eoscast_proto::domain::{RequestState, WorkerId};
use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::status::ServiceError;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::common::{PIECE, Responses, key};
use crate::pipeline::Pipeline;
use crate::tracker::RequestKey;

/// Most watchers at a time.
const MOST_WATCHERS: usize = 32;
/// The view is made anew at most so often, and for who begins to watch at most so often.
const VIEW_EVERY: Duration = Duration::from_millis(200);
const FIRST_VIEW_EVERY: Duration = Duration::from_millis(20);
/// Requests of the view that are looked at in one go.
const LOOKS: usize = 4_096;
/// Ended requests that are remembered for slow watchers. A watcher that is further behind gets an error and begins again.
const MOST_GONE: usize = 65_536;

/// All who watch, and what they see.
pub(super) struct Watchers {
    pipeline: Arc<Pipeline>,
    places: Arc<Semaphore>,
    view: RwLock<View>,
    /// One permit, for whoever brings the view up to date.
    turn: Semaphore,
}

/// The live requests as they were at the last update.
#[derive(Default)]
struct View {
    /// Updates so far; also names the state.
    version: u64,
    /// When the last update was done; none while nobody watches.
    updated: Option<Instant>,
    /// By worker and id: the version in which it changed last, and how it was then.
    live: BTreeMap<RequestKey, (u64, RequestState)>,
    /// What has gone, by version.
    gone: VecDeque<(u64, RequestKey)>,
    /// What has gone up to this version is forgotten.
    forgotten: u64,
}

impl View {
    fn insert(&mut self, state: RequestState, version: u64) {
        self.live.insert(key(&state), (version, state));
    }

    fn remove(&mut self, key: RequestKey, version: u64) {
        if self.live.remove(&key).is_none() {
            return;
        }
        self.gone.push_back((version, key));
        if self.gone.len() > MOST_GONE
            && let Some((version, _)) = self.gone.pop_front()
        {
            self.forgotten = version;
        }
    }

    /// Some of what has changed after version `seen`, behind `after` in order; and where to go on, if that is not all. What an update
    /// changes meanwhile is among it, and comes again with the next version: if it were left out, a slow watcher might never see a
    /// request that changes with each update.
    fn changed(
        &self,
        worker_id: Option<&WorkerId>,
        seen: u64,
        after: Option<&RequestKey>,
    ) -> (Vec<pb::RequestState>, Option<RequestKey>) {
        let mut changed = vec![];
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (looks, (key, (version, state))) in self.live.range((start, Bound::Unbounded)).enumerate() {
            if *version > seen && worker_id.is_none_or(|wanted| *wanted == key.0) {
                changed.push(state.clone().into());
            }
            if changed.len() == PIECE || looks == LOOKS {
                return (changed, Some(key.clone()));
            }
        }
        (changed, None)
    }

    /// What has gone after version `seen` and has not come back. What an update under way removes comes with the next version.
    fn gone(&self, worker_id: Option<&WorkerId>, seen: u64) -> Vec<pb::FinishedRequest> {
        let first = self.gone.partition_point(|(version, _)| *version <= seen);
        let end = self.gone.partition_point(|(version, _)| *version <= self.version);
        let gone = self.gone.range(first..end).map(|(_, key)| key);
        let wanted =
            |key: &&RequestKey| worker_id.is_none_or(|wanted| *wanted == key.0) && !self.live.contains_key(*key);
        gone.filter(wanted)
            .map(|(worker_id, request_id)| pb::FinishedRequest {
                worker_id: worker_id.to_string(),
                request_id: request_id.to_string(),
            })
            .collect()
    }
}

impl Watchers {
    pub(super) fn new(pipeline: Arc<Pipeline>) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(MOST_WATCHERS));
        Arc::new(Self { pipeline, places, view: RwLock::default(), turn: Semaphore::new(1) })
    }

    /// What is live, then what changes, at most once per `interval`, and no sooner than the caller takes it.
    ///
    /// # Errors
    /// When there are too many watchers.
    pub(super) fn watch(
        self: &Arc<Self>,
        worker_id: Option<WorkerId>,
        interval: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Responses<pb::WatchRequestsResponse>, ServiceError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| ServiceError::ResourceExhausted {
            message: format!("there are {MOST_WATCHERS} watchers, which is the most"),
            retry_after: Duration::from_secs(5),
        })?;
        let (responses, ready) = mpsc::channel(1);
        let (watchers, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move {
            let watching = watchers.send_changes(worker_id, interval, &responses);
            if let Some(Err(error)) = shutdown.run_until_cancelled(watching).await {
                let _ = responses.send(Err(error.into())).await;
            }
            drop(place);
            watchers.close_if_unused().await;
        });
        Ok(Box::pin(ReceiverStream::new(ready)))
    }

    async fn send_changes(
        &self,
        worker_id: Option<WorkerId>,
        interval: Duration,
        responses: &mpsc::Sender<Result<pb::WatchRequestsResponse, Status>>,
    ) -> Result<(), ServiceError> {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = responses.closed() => return Ok(()),
            }
            let age = if seen.is_some() { VIEW_EVERY } else { FIRST_VIEW_EVERY };
            self.update(age).await;
            let (version, mut finished) = {
                let view = self.read();
                let since = seen.unwrap_or(view.version);
                if since < view.forgotten {
                    return Err(ServiceError::Unavailable("the watch has fallen behind; begin another one".into()));
                }
                (view.version, view.gone(worker_id.as_ref(), since))
            };
            let mut after = None;
            // The first message says what there is, even if that is nothing.
            let mut is_due = seen.is_none();
            loop {
                let (requests, next) = self.read().changed(worker_id.as_ref(), seen.unwrap_or(0), after.as_ref());
                let finished: Vec<_> = finished.drain(..finished.len().min(PIECE)).collect();
                if std::mem::take(&mut is_due) || !requests.is_empty() || !finished.is_empty() {
                    let response = pb::WatchRequestsResponse { requests, finished };
                    if responses.send(Ok(response)).await.is_err() {
                        return Ok(());
                    }
                }
                tokio::task::yield_now().await;
                after = next;
                if after.is_none() {
                    break;
                }
            }
            for rest in finished.chunks(PIECE) {
                let response = pb::WatchRequestsResponse { requests: vec![], finished: rest.to_vec() };
                if responses.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            }
            seen = Some(version);
        }
    }

    /// Brings the view up to date, unless that was done within `age`.
    async fn update(&self, age: Duration) {
        let _turn = self.turn().await;
        let (updated, version) = {
            let view = self.read();
            (view.updated, view.version + 1)
        };
        if updated.is_some_and(|done| done.elapsed() < age) {
            return;
        }
        if updated.is_none() || !self.take_changes(version).await {
            self.begin_anew(version).await;
        }
        let mut view = self.write();
        (view.version, view.updated) = (version, Some(Instant::now()));
    }

    /// Whether the changes are all known.
    async fn take_changes(&self, version: u64) -> bool {
        loop {
            let Some(taken) = self.pipeline.ask(|tracker| tracker.take_changes(PIECE)) else { return false };
            {
                let mut view = self.write();
                taken.ended.into_iter().for_each(|key| view.remove(key, version));
                taken.changed.into_iter().for_each(|state| view.insert(state, version));
            }
            if !taken.has_more {
                return true;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at all live requests. Whoever watches already has to begin anew, too.
    async fn begin_anew(&self, version: u64) {
        *self.write() = View { version: version - 1, forgotten: version, ..View::default() };
        self.pipeline.ask(|tracker| tracker.note_changes(true));
        let mut after = None;
        loop {
            let piece = self.pipeline.ask(|tracker| tracker.requests(None, after.as_ref(), PIECE));
            after = piece.last().filter(|_| piece.len() == PIECE).map(key);
            {
                let mut view = self.write();
                piece.into_iter().for_each(|state| view.insert(state, version));
            }
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// When the last watcher has gone nothing is noted any more.
    async fn close_if_unused(&self) {
        let _turn = self.turn().await;
        let (is_kept, version) = {
            let view = self.read();
            (view.updated.is_some(), view.version)
        };
        if is_kept && self.places.available_permits() == MOST_WATCHERS {
            self.pipeline.ask(|tracker| tracker.note_changes(false));
            *self.write() = View { version, forgotten: version, ..View::default() };
        }
    }

    /// None only if the semaphore were closed, which nobody does.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// Nobody panics while holding it.
    fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}
