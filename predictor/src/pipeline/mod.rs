//! Two threads behind every stream: [`tracking`] keeps all state and answers, [`writing`] appends to the event log.
//!
//! Neither waits for the other. What lies between them is bounded by the streams: each sends on only while what it has
//! outstanding weighs less than [`MOST_UNACKNOWLEDGED`].

mod tracking;
mod writing;

pub use writing::LogState;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as queue;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{LengthEstimate, LengthPrior, StepBatch};
use eoscast_proto::status::ServiceError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::metrics::Metrics;
use crate::tracker::{StreamId, Tracker};
use eoscast_log::EventLog;
use eoscast_log::record::Lines;
use writing::Job;

/// Largest weight of the messages of one stream that are not acknowledged yet.
pub const MOST_UNACKNOWLEDGED: usize = 4_096;

/// Entries of a message that weigh as much as the message itself.
const ENTRIES_PER_WEIGHT: usize = 64;

/// What a message counts against [`MOST_UNACKNOWLEDGED`]: 1, and 1 more for each 64 events and other entries.
pub fn weight(batch: &StepBatch) -> u32 {
    let entries = batch.started.len() + batch.events.len() + batch.ended.len();
    // Messages have at most a few thousand entries.
    1 + u32::try_from(entries / ENTRIES_PER_WEIGHT).unwrap_or(u32::MAX / 2)
}

/// What a message, or a change of the prior, is answered with.
#[derive(Debug)]
pub struct Answer {
    /// Of the requests of one message.
    pub estimates: Vec<LengthEstimate>,
    /// When it is new.
    pub prior: Option<LengthPrior>,
}

/// How far the messages of a stream are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every message up to this one is processed, and written if `logged`.
    pub acknowledged: u64,
    /// Whether they are in the log.
    pub logged: bool,
    /// Weight of all messages of the stream that are processed.
    pub weight: u64,
}

/// The answering side of one stream.
pub struct StreamAnswers {
    /// Answers in the order of messages; an error ends the stream.
    pub answers: mpsc::UnboundedReceiver<Result<Answer, ServiceError>>,
    /// Closed when everything of the stream is written.
    pub progress: watch::Receiver<Progress>,
}

/// The sending side of one stream. Dropping it closes the stream.
pub struct StreamSteps {
    id: StreamId,
    pipeline: Arc<Pipeline>,
}

impl StreamSteps {
    /// Hands over a message that was received at `received`. Never waits: the caller holds `weight(batch)` permits.
    pub fn send(&self, batch: StepBatch, received: Instant) {
        self.pipeline.send(Command::Steps { stream: self.id, batch: Box::new(batch), received });
    }

    /// Ends the stream with `error`, after the answers to what was sent before.
    pub fn fail(&self, error: ServiceError) {
        self.pipeline.send(Command::Close { stream: self.id, error: Some(error) });
    }
}

impl Drop for StreamSteps {
    fn drop(&mut self) {
        self.pipeline.send(Command::Close { stream: self.id, error: None });
    }
}

enum Command {
    Open {
        stream: StreamId,
        answers: mpsc::UnboundedSender<Result<Answer, ServiceError>>,
        progress: Arc<watch::Sender<Progress>>,
    },
    Steps {
        stream: StreamId,
        batch: Box<StepBatch>,
        received: Instant,
    },
    Close {
        stream: StreamId,
        error: Option<ServiceError>,
    },
    Ask(Box<dyn FnOnce(&mut Tracker) + Send>),
    Stop,
}

/// The way to the tracking thread.
pub struct Pipeline {
    commands: queue::Sender<Command>,
    last_stream: AtomicU64,
}

/// The running threads.
pub struct Threads {
    pipeline: Arc<Pipeline>,
    tracking: JoinHandle<()>,
    writing: JoinHandle<()>,
    /// How the event log fares.
    pub log_state: watch::Receiver<LogState>,
}

impl Pipeline {
    /// Starts both threads. `lines` are written first; without `log` nothing is.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        tracker: Tracker,
        lines: Lines,
        log: Option<EventLog>,
        orphan_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Arc<Self>, Threads)> {
        let (commands, command_queue) = queue::channel();
        let (jobs, job_queue) = queue::channel::<Job>();
        let (state, log_state) = watch::channel(if log.is_some() { LogState::Ok } else { LogState::Off });
        let writer_metrics = metrics.clone();
        let writing = std::thread::Builder::new()
            .name("event-log".into())
            .spawn(move || writing::run(log, &job_queue, &state, &writer_metrics))?;
        let tracking = std::thread::Builder::new().name("tracker".into()).spawn(move || {
            tracking::Tracking::new(tracker, jobs, orphan_timeout, metrics).run(lines, &command_queue)
        })?;
        let pipeline = Arc::new(Self { commands, last_stream: AtomicU64::new(0) });
        Ok((pipeline.clone(), Threads { pipeline, tracking, writing, log_state }))
    }

    /// A new stream, and the permits that bound what it has outstanding.
    pub fn open_stream(self: &Arc<Self>) -> (StreamSteps, StreamAnswers, Arc<Semaphore>) {
        let id = self.last_stream.fetch_add(1, Ordering::Relaxed) + 1;
        let (answers, answer_queue) = mpsc::unbounded_channel();
        let (progress, progress_seen) = watch::channel(Progress::default());
        self.send(Command::Open { stream: id, answers, progress: Arc::new(progress) });
        (
            StreamSteps { id, pipeline: self.clone() },
            StreamAnswers { answers: answer_queue, progress: progress_seen },
            Arc::new(Semaphore::new(MOST_UNACKNOWLEDGED)),
        )
    }

    /// Has `question` answered between two messages; it should be quick.
    ///
    /// # Errors
    /// When the predictor is shutting down.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Tracker) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask(Box::new(move |tracker| {
            // Nobody listens any more if the caller has gone.
            let _ = reply.send(question(tracker));
        })));
        answer.await.map_err(|_| ServiceError::Unavailable("the predictor is shutting down".into()))
    }

    /// Lost if the tracking thread has stopped: whoever waits for an answer sees its channel close.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Threads {
    /// Lets both threads finish what they have, sync the log and end. Blocks.
    pub fn stop(self) {
        self.pipeline.send(Command::Stop);
        for (name, thread) in [("tracker", self.tracking), ("event-log", self.writing)] {
            if thread.join().is_err() {
                tracing::error!(thread = name, "thread failed");
            }
        }
    }
}
