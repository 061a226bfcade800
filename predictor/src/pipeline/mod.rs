//! What lies behind every stream: [`tracking`] keeps all state and answers at once, in the task that read the message;
//! [`writing`], a thread of its own, appends to the event log; [`owed`] is what a log that fails lacks.
//!
//! So a step wakes one thread, since an engine may need the same cores; a slow disk delays acknowledgements only, until much waits for
//! it: then streams pause. What waits to be
//! written or sent is bounded in bytes, for each stream and for all together: [`stream`] says how.

pub(crate) mod log_state;
mod owed;
mod stream;
mod tracking;
mod writing;

pub(crate) use log_state::LogState;
pub(crate) use stream::{Account, Answer, Progress};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eoscast_log::EventLog;
use eoscast_log::record::Lines;
use eoscast_proto::domain::StepBatch;
use eoscast_proto::status::ServiceError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::tracker::{StreamId, Tracker};
use tracking::Tracking;
use writing::Queue;

/// How often [`Pipeline::tick`] is due.
pub(crate) const TICK: Duration = Duration::from_millis(500);
/// How often [`Pipeline::wait_for_log`] looks.
const LOG_LOOK: Duration = Duration::from_millis(20);

/// The answering side of one stream.
pub(crate) struct StreamAnswers {
    /// Answers in the order of messages; an error ends the stream.
    pub(crate) answers: mpsc::UnboundedReceiver<Result<Answer, ServiceError>>,
    /// Closed when everything of the stream is written.
    pub(crate) progress: watch::Receiver<Progress>,
    /// Where acknowledgements that have gone out are noted.
    pub(crate) account: Arc<Account>,
}

/// The sending side of one stream. Dropping it closes the stream.
pub(crate) struct StreamSteps {
    id: StreamId,
    pipeline: Arc<Pipeline>,
}

impl StreamSteps {
    /// Applies a message that was received at `received`. Whether the next one may be read.
    pub(crate) fn send(&self, batch: &StepBatch, received: Instant) -> bool {
        let mut tracking = self.pipeline.tracking();
        tracking.steps(self.id, batch, received);
        tracking.may_read(self.id)
    }

    /// Waits until the next message may be read.
    pub(crate) async fn room(&self, account: &Account) {
        self.pipeline.metrics.stream_pauses.inc();
        loop {
            account.taken().await;
            if self.pipeline.tracking().may_read(self.id) {
                return;
            }
        }
    }

    /// Ends the stream with `error`, after the answers to what was sent before.
    pub(crate) fn fail(&self, error: ServiceError) {
        self.pipeline.tracking().close(self.id, Some(error));
    }
}

impl Drop for StreamSteps {
    fn drop(&mut self) {
        self.pipeline.tracking().close(self.id, None);
    }
}

/// The one state behind all streams.
pub(crate) struct Pipeline {
    tracking: Mutex<Tracking>,
    last_stream: AtomicU64,
    writing: Mutex<Option<JoinHandle<()>>>,
    metrics: Arc<Metrics>,
    /// How the event log fares.
    pub(crate) log_state: watch::Receiver<LogState>,
}

impl Pipeline {
    /// Starts the writing thread. `lines` are written first; without `log` nothing is.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(
        tracker: Tracker,
        lines: Lines,
        log: Option<EventLog>,
        orphan_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let jobs = Arc::new(Queue::default());
        let queue = jobs.clone();
        let (state, log_state) = watch::channel(if log.is_some() { LogState::Ok } else { LogState::Off });
        let writer_metrics = metrics.clone();
        let writing = std::thread::Builder::new()
            .name("event-log".into())
            .spawn(move || writing::run(log, &queue, &state, &writer_metrics))?;
        Ok(Arc::new(Self {
            tracking: Mutex::new(Tracking::new(tracker, lines, jobs, orphan_timeout, metrics.clone())),
            last_stream: AtomicU64::new(0),
            writing: Mutex::new(Some(writing)),
            metrics,
            log_state,
        }))
    }

    /// A new stream.
    pub(crate) fn open_stream(self: &Arc<Self>) -> (StreamSteps, StreamAnswers) {
        let id = self.last_stream.fetch_add(1, Ordering::Relaxed) + 1;
        #[expect(
            clippy::disallowed_methods,
            reason = "what a stream has outstanding is bounded, and the answers with it"
        )]
        let (answers, answer_queue) = mpsc::unbounded_channel();
        let (progress, progress_seen) = watch::channel(Progress::default());
        let account = Arc::new(Account::default());
        self.tracking().open(id, answers, Arc::new(progress), account.clone());
        (
            StreamSteps { id, pipeline: self.clone() },
            StreamAnswers { answers: answer_queue, progress: progress_seen, account },
        )
    }

    /// The answer to `question`, which should be quick: no message is applied meanwhile.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&mut Tracker) -> T) -> T {
        question(self.tracking().tracker())
    }

    /// Waits until everything that was applied so far is in the log, or cannot be, or until `stop`. Blocks.
    pub(crate) fn wait_for_log(&self, stop: &CancellationToken) {
        let written = self.tracking().writing();
        while matches!(written.has_changed(), Ok(false)) && !stop.is_cancelled() {
            std::thread::sleep(LOG_LOOK);
        }
    }

    /// Ends the requests of workers that are long gone and tells of a prior that has changed; to be called every [`TICK`].
    pub(crate) fn tick(&self) {
        self.tracking().tick();
    }

    /// Has the writing thread finish what it has, sync the log and end. Blocks. Nothing is written after that.
    pub(crate) fn stop(&self) {
        self.tracking().stop();
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writing.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the event-log thread failed");
        }
    }

    /// Whoever panicked while holding it left at worst a message applied in part, which counts as a lost one.
    fn tracking(&self) -> MutexGuard<'_, Tracking> {
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
