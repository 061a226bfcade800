//! [`accept`]: the first part of a step. May this message be applied, has it been seen before, and what did it skip?

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use eoscast_proto::domain::{RequestId, StepBatch, WorkerId};
use eoscast_proto::status::ServiceError;

use super::worker::{StreamId, Worker};

/// Most live requests of all workers together, at about 3.7 KiB each.
pub(super) const MOST_LIVE: usize = 65_536;
/// Most workers known at a time.
const MOST_WORKERS: usize = 1_024;

/// A message that may be applied.
pub(super) struct Accepted<'a> {
    pub(super) worker: &'a mut Worker,
    /// It is seen for the first time.
    pub(super) is_new: bool,
    /// Messages that the worker's numbering skips before this one.
    pub(super) missing_messages: u64,
    /// An older stream of the same worker, to be ended.
    pub(super) superseded: Option<StreamId>,
    /// The worker's older run, which this message ends with all its requests.
    pub(super) older_run: Option<Worker>,
    /// Requests that start and finish in this message, and that the log knows already.
    pub(super) finished: HashSet<RequestId>,
}

/// Notes the message and its stream in the state of its worker.
///
/// # Errors
/// When the worker has a newer run, or there are too many workers or requests; nothing is changed then.
pub(super) fn accept<'a>(
    workers: &'a mut BTreeMap<WorkerId, Worker>,
    batch: &StepBatch,
    stream: StreamId,
) -> Result<Accepted<'a>, ServiceError> {
    let worker = admit(workers, batch)?;
    let superseded = worker.stream.filter(|other| *other != stream);
    worker.stream = Some(stream);
    worker.alone_since = None;
    let mut older_run = None;
    if worker.epoch < batch.run.epoch {
        let newer = Worker { epoch: batch.run.epoch, stream: Some(stream), ..Worker::default() };
        older_run = Some(std::mem::replace(worker, newer));
    }
    let is_new = batch.sequence_number > worker.last_applied;
    let (mut missing_messages, mut finished) = (0, HashSet::new());
    if is_new {
        let finished_last = std::mem::take(&mut worker.finished_last);
        if batch.sequence_number == worker.last_logged {
            finished = finished_last;
        }
        // Of a worker not known before, earlier messages are none of ours.
        let known = worker.last_applied.max(worker.last_logged);
        if known > 0 {
            missing_messages = batch.sequence_number.saturating_sub(known).saturating_sub(1);
        }
        worker.last_applied = batch.sequence_number;
    }
    Ok(Accepted { worker, is_new, missing_messages, superseded, older_run, finished })
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
