//! The writing thread: appends what has gathered, then lets streams acknowledge it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::log_state::LogState;
use super::owed::Owed;
use super::stream::Progress;
use crate::metrics::Metrics;
use eoscast_log::EventLog;
use eoscast_log::record::{LineCounts, Lines};

/// Lines are written together so often, so that few steps wake the disk and this thread seldom.
const GATHER: Duration = Duration::from_millis(100);
/// So many messages are written at once: a busy stream may not run out of what it may have unacknowledged, since what it then
/// does not read would count against its connection (see `eoscast_proto::transport`).
const MANY_JOBS: usize = 32;
/// How long a log that has failed is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// Lines to write, and what may be acknowledged after that.
pub(super) struct Job {
    pub(super) lines: Lines,
    pub(super) receipt: Option<Receipt>,
}

/// Tells one stream how far it is.
pub(super) struct Receipt {
    pub(super) progress: Arc<watch::Sender<Progress>>,
    pub(super) acknowledged: u64,
    pub(super) weight: u64,
}

struct Writing<'a> {
    log: Option<EventLog>,
    state: &'a watch::Sender<LogState>,
    retry_at: Instant,
    owed: Owed,
    metrics: &'a Metrics,
}

/// Jobs on their way to the writing thread.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    many: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    closed: bool,
}

impl Queue {
    /// Wakes the thread only if a good many are waiting; it comes by itself soon.
    pub(super) fn push(&self, job: Job) {
        let mut waiting = self.lock();
        waiting.jobs.push(job);
        if waiting.jobs.len() == MANY_JOBS {
            self.many.notify_one();
        }
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.many.notify_one();
    }

    /// What has gathered for [`GATHER`], or sooner if it is much; nothing once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let little = |waiting: &mut Waiting| waiting.jobs.len() < MANY_JOBS && !waiting.closed;
        let (mut waiting, _) =
            self.many.wait_timeout_while(self.lock(), GATHER, little).unwrap_or_else(PoisonError::into_inner);
        let jobs = std::mem::take(&mut waiting.jobs);
        (!jobs.is_empty() || !waiting.closed).then_some(jobs)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the queue is closed and empty.
pub(super) fn run(log: Option<EventLog>, queue: &Queue, state: &watch::Sender<LogState>, metrics: &Metrics) {
    let mut writing = Writing { log, state, retry_at: Instant::now(), owed: Owed::default(), metrics };
    while let Some(jobs) = queue.take() {
        if jobs.is_empty() {
            writing.idle();
            continue;
        }
        let (lines, receipts): (Vec<Lines>, Vec<Option<Receipt>>) =
            jobs.into_iter().map(|job| (job.lines, job.receipt)).unzip();
        let logged = writing.append(lines);
        for Receipt { progress, acknowledged, weight } in receipts.into_iter().flatten() {
            progress.send_replace(Progress { acknowledged, logged, weight });
        }
    }
    writing.owed_at_last();
    writing.attempt(EventLog::sync);
}

impl Writing<'_> {
    /// Whether the lines are in the log now. What is not is owed or lost.
    fn append(&mut self, mut messages: Vec<Lines>) -> bool {
        let failed = *self.state.borrow() == LogState::Failed;
        let Some(log) = self.log.as_mut() else { return false };
        if failed && Instant::now() < self.retry_at {
            self.owed.take(messages, LineCounts::default(), None);
            self.count_lost();
            return false;
        }
        if let Some(lines) = self.owed.lines() {
            messages.insert(0, lines);
        }
        let mut result = log.append(&messages).map(|bytes| {
            self.metrics.log_bytes.inc_by(bytes);
        });
        self.metrics.log_lines.inc_by(log.written().steps);
        self.metrics.count_lost_lines(log.take_deleted());
        match &result {
            // Without a mark nobody would know of the gap: the log counts as failed until it is there.
            Ok(()) => result = self.owed.settle(|gap| log.mark(gap)),
            Err(error) => self.owed.take(messages, log.written(), Some(error)),
        }
        self.count_lost();
        self.settle(result.as_ref().err())
    }

    /// Looks after the files; a log that failed is tried again.
    fn idle(&mut self) {
        if *self.state.borrow() == LogState::Failed {
            if Instant::now() >= self.retry_at {
                self.append(vec![]);
            }
            return;
        }
        self.attempt(|log| log.look().and_then(|()| log.sync_if_due()));
        if let Some(log) = &mut self.log {
            self.metrics.count_lost_lines(log.take_deleted());
        }
    }

    /// Tries once more before the end, and says what is lost.
    fn owed_at_last(&mut self) {
        if !self.owed.is_empty() {
            self.retry_at = Instant::now();
            self.append(vec![]);
        }
        if !self.owed.is_empty() {
            let LineCounts { starts, requests, steps } = self.owed.missing();
            tracing::error!(starts, requests, steps, "the event log lacks these lines at exit, and no gap is marked");
        }
    }

    fn count_lost(&mut self) {
        self.metrics.count_lost_lines(self.owed.take_lost());
    }

    fn attempt(&mut self, action: impl FnOnce(&mut EventLog) -> io::Result<()>) {
        if let Some(log) = self.log.as_mut().filter(|_| *self.state.borrow() == LogState::Ok) {
            let result = action(log);
            self.settle(result.as_ref().err());
        }
    }

    /// Keeps the state in step with how an operation went, and says so when it changes.
    fn settle(&mut self, error: Option<&io::Error>) -> bool {
        let logged = error.is_none();
        let state = if logged { LogState::Ok } else { LogState::Failed };
        if *self.state.borrow() != state {
            match error {
                None => tracing::warn!(
                    "event log is written again; steps since it failed are not in it, and the gap is marked"
                ),
                Some(error) => tracing::error!(%error, "event log failed; serving goes on, next try in 5 s"),
            }
            self.state.send_replace(state);
        }
        if !logged {
            self.retry_at = Instant::now() + RETRY;
        }
        self.metrics.set_log_state(state);
        logged
    }
}
