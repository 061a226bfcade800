//! The writing thread: appends what has gathered, then lets streams acknowledge it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Progress;
use crate::metrics::Metrics;
use eoscast_log::EventLog;
use eoscast_log::record::Lines;

/// Most messages written at once.
const MOST_AT_ONCE: usize = 256;
/// Fewer messages than this wait for [`GATHER`], so that few steps are written together; more are written at once, so that
/// acknowledgements do not hold up a busy stream.
const FEW: usize = 32;
const GATHER: Duration = Duration::from_millis(50);
/// How long a log that has failed is left alone.
const RETRY: Duration = Duration::from_secs(10);
/// How long the thread sleeps when there is nothing to write.
const IDLE: Duration = Duration::from_millis(250);

/// How the event log fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// Switched off.
    Off,
    /// Written.
    Ok,
    /// The disk refused; tried again every 10 s. Serving goes on.
    Failed,
}

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
    metrics: &'a Metrics,
}

/// Until no more jobs can come.
pub(super) fn run(log: Option<EventLog>, jobs: &Receiver<Job>, state: &watch::Sender<LogState>, metrics: &Metrics) {
    let mut writing = Writing { log, state, retry_at: Instant::now(), metrics };
    let mut gathered = vec![];
    let mut lines = vec![];
    let mut receipts = vec![];
    loop {
        match jobs.recv_timeout(IDLE) {
            Ok(first) => {
                gathered.push(first);
                gathered.extend(jobs.try_iter().take(MOST_AT_ONCE));
                if gathered.len() < FEW {
                    // Asleep, not waiting at the queue: the next message must not wake this thread.
                    std::thread::sleep(GATHER);
                    gathered.extend(jobs.try_iter().take(MOST_AT_ONCE));
                }
                for job in gathered.drain(..) {
                    lines.push(job.lines);
                    receipts.extend(job.receipt);
                }
                let logged = writing.append(&lines);
                lines.clear();
                for Receipt { progress, acknowledged, weight } in receipts.drain(..) {
                    progress.send_replace(Progress { acknowledged, logged, weight });
                }
            }
            Err(RecvTimeoutError::Timeout) => writing.attempt(EventLog::sync_if_due),
            Err(RecvTimeoutError::Disconnected) => return writing.attempt(EventLog::sync),
        }
    }
}

impl Writing<'_> {
    /// Whether the lines are in the log now.
    fn append(&mut self, messages: &[Lines]) -> bool {
        let failed = *self.state.borrow() == LogState::Failed;
        let Some(log) = self.log.as_mut().filter(|_| !failed || Instant::now() >= self.retry_at) else {
            return false;
        };
        let result = log.append(messages);
        if let Ok(bytes) = result {
            self.metrics.log_bytes.inc_by(bytes);
            self.metrics.log_lines.inc_by(messages.iter().map(|lines| lines.steps.len() as u64).sum());
        }
        self.settle(result.as_ref().err())
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
                None => tracing::warn!("event log is written again; steps since it failed are not in it"),
                Some(error) => tracing::error!(%error, "event log failed; serving goes on, next try in 10 s"),
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
