//! [`accept`]: the first part of a step. May this message be applied, has it been seen before, and what did it skip?

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use eoscast_proto::domain::{RequestId, StepBatch, WorkerId};
use eoscast_proto::status::ServiceError;
use eoscast_proto::transport::MOST_UNACKNOWLEDGED;

use super::worker::{StreamId, Worker};

/// Most live requests of all workers together, at about 3.7 KiB each.
pub(super) const MOST_LIVE: usize = 65_536;
/// Most live requests of one worker: a little more than it may tell of, for ends that reach us late.
pub(super) const MOST_LIVE_OF_WORKER: usize = StepBatch::MOST_LIVE + 1_024;
/// Beyond so many live requests of all workers, the rest is for workers that have few.
const COMMON_LIVE: usize = MOST_LIVE / 4 * 3;
const FEW_LIVE: usize = 512;
/// Most workers known at a time.
const MOST_WORKERS: usize = 1_024;
/// How far the numbers of a known run may skip or fall back. More is most likely not its own numbering. A worker that was cut off for
/// very long may skip more, too: it is asked for another epoch, and its live requests count as aborted.
const MOST_SKIPPED: u64 = MOST_UNACKNOWLEDGED as u64;

/// A message that may be applied.
pub(super) struct Accepted<'a> {
    pub(super) worker: &'a mut Worker,
    /// It is seen for the first time.
    pub(super) is_new: bool,
    /// Messages that the worker's numbering skips before this one.
    pub(super) missing_messages: u64,
    /// An older stream of the same worker, to be ended.
    pub(super) superseded: Option<StreamId>,
    /// Runs that this message ends with all their requests: the worker's older one, and those of idle workers that make room.
    pub(super) ended_runs: Vec<Worker>,
    /// Requests that start and finish in this message, and that the log knows already.
    pub(super) finished: HashSet<RequestId>,
}

/// Notes the message and its stream in the state of its worker.
///
/// # Errors
/// When the worker has a newer run or another numbering, or there are too many workers or requests; nothing is changed then.
pub(super) fn accept<'a>(
    workers: &'a mut BTreeMap<WorkerId, Worker>,
    batch: &StepBatch,
    stream: StreamId,
) -> Result<Accepted<'a>, ServiceError> {
    check_run(workers.get(&batch.run.worker_id), batch)?;
    let mut ended_runs = make_room(workers, batch)?;
    let worker = workers
        .entry(batch.run.worker_id.clone())
        .or_insert_with(|| Worker { epoch: batch.run.epoch, ..Worker::default() });
    let superseded = worker.stream.filter(|other| *other != stream);
    worker.stream = Some(stream);
    worker.alone_since = None;
    if worker.epoch != batch.run.epoch {
        let newer = Worker { epoch: batch.run.epoch, stream: Some(stream), ..Worker::default() };
        ended_runs.push(std::mem::replace(worker, newer));
    } else if worker.is_given_up && skips_too_far(worker, batch.sequence_number) {
        (worker.last_applied, worker.last_logged) = (batch.sequence_number - 1, 0);
    }
    worker.is_given_up = false;
    let is_new = batch.sequence_number > worker.last_applied;
    let (mut missing_messages, mut finished) = (0, HashSet::new());
    if is_new {
        let finished_last = std::mem::take(&mut worker.finished_last);
        if batch.sequence_number == worker.last_logged {
            finished = finished_last;
        }
        // Of a worker not known before, earlier messages are none of ours.
        let known = worker.last_known();
        if known > 0 {
            missing_messages = batch.sequence_number.saturating_sub(known).saturating_sub(1);
        }
        worker.last_applied = batch.sequence_number;
    }
    Ok(Accepted { worker, is_new, missing_messages, superseded, ended_runs, finished })
}

/// Whether the message is of the run that the worker is known by, or of a newer one. A worker that was given up may come back as
/// any run: its clock may have gone back, or what was known of it may have been somebody else's.
fn check_run(worker: Option<&Worker>, batch: &StepBatch) -> Result<(), ServiceError> {
    let Some(worker) = worker.filter(|worker| !worker.is_given_up) else { return Ok(()) };
    let (run, number) = (&batch.run, batch.sequence_number);
    let over = |message| Err(ServiceError::EpochOver { message, next_epoch: worker.epoch.saturating_add(1) });
    if run.epoch < worker.epoch {
        return over(format!(
            "epoch {} of worker {} is over, a run with epoch {} has begun",
            run.epoch, run.worker_id, worker.epoch
        ));
    }
    if run.epoch == worker.epoch && skips_too_far(worker, number) {
        return over(format!(
            "message {number} of worker {} is more than {MOST_SKIPPED} away from the last one, {}; begin another epoch",
            run.worker_id,
            worker.last_known()
        ));
    }
    Ok(())
}

fn skips_too_far(worker: &Worker, number: u64) -> bool {
    worker.last_known() > 0 && number.abs_diff(worker.last_known()) > MOST_SKIPPED
}

/// Ends workers that have no stream, the longest idle first, as far as the message needs their places. Gives what they had.
///
/// # Errors
/// When there are too many workers or requests that are in use; nothing is changed then.
fn make_room(workers: &mut BTreeMap<WorkerId, Worker>, batch: &StepBatch) -> Result<Vec<Worker>, ServiceError> {
    let full = |message: String| Err(ServiceError::ResourceExhausted { message, retry_after: Duration::from_secs(60) });
    let id = &batch.run.worker_id;
    let known = workers.get(id).filter(|worker| worker.epoch == batch.run.epoch);
    let is_new = |id: &RequestId| known.is_none_or(|worker| !worker.live.contains_key(id));
    let new = batch.started.iter().filter(|started| is_new(&started.request_id)).count();
    let own = new + known.map_or(0, |worker| worker.live.len());
    if own > MOST_LIVE_OF_WORKER {
        return full(format!(
            "worker {id} has {} live requests and tells of {new} more; one worker may tell of {}",
            own - new,
            StepBatch::MOST_LIVE
        ));
    }
    let lacks_place = !workers.contains_key(id) && workers.len() >= MOST_WORKERS;
    if !lacks_place && new == 0 {
        return Ok(vec![]);
    }
    let most = if own > FEW_LIVE { COMMON_LIVE } else { MOST_LIVE };
    let mut live: usize = workers.values().map(|worker| worker.live.len()).sum();
    let mut idle: Vec<(&WorkerId, &Worker)> =
        workers.iter().filter(|(other, worker)| *other != id && worker.stream.is_none()).collect();
    if lacks_place && idle.is_empty() {
        return full(format!("{MOST_WORKERS} workers have a stream, which is the most"));
    }
    let in_use = live - idle.iter().map(|(_, worker)| worker.live.len()).sum::<usize>();
    if new > 0 && in_use + new > most {
        return full(format!(
            "there are {in_use} live requests of all workers, the most is {MOST_LIVE}; try again later"
        ));
    }
    idle.sort_by_key(|(_, worker)| (!worker.live.is_empty(), worker.alone_since));
    let mut ending: Vec<WorkerId> = vec![];
    if lacks_place && let Some((longest, worker)) = idle.first() {
        live -= worker.live.len();
        ending.push((*longest).clone());
    }
    let with_live = idle.iter().skip(ending.len()).filter(|(_, worker)| !worker.live.is_empty());
    for (other, worker) in with_live {
        if new == 0 || live + new <= most {
            break;
        }
        live -= worker.live.len();
        ending.push((*other).clone());
    }
    Ok(ending.iter().filter_map(|id| workers.remove(id)).collect())
}
