//! The async side of the engine: submit, abort, loads, shutdown.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{ReplyEvent, RequestId};
use eoscast_proto::status::ServiceError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::Stream;

use super::command::{Command, Submission};
use super::config::EngineConfig;
use super::live_ids::LiveIds;
use super::prepare::PreparedRequest;
use super::step::Engine;
use crate::link::PredictorLink;
use crate::metrics::Metrics;
use crate::runner::{ModelRunner, ModelSpec};
use eoscast_model::text::Vocabulary;

/// When a client may try again after the queue was full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Talks to the engine thread. Cheap to clone; the thread ends when all handles are gone.
#[derive(Clone)]
pub struct EngineHandle {
    commands: mpsc::UnboundedSender<Command>,
    /// One permit per place in the queue.
    queue: Arc<Semaphore>,
    queue_length: usize,
    live: LiveIds,
    /// Locked while a request is announced and submitted, so that no Submit is queued behind a Drain.
    draining: Arc<Mutex<bool>>,
    model: Arc<ModelSpec>,
    sends_prompts: bool,
    link: PredictorLink,
    metrics: Arc<Metrics>,
}

/// Resolves when the engine thread has ended; an error if it panicked.
pub struct EngineThread(oneshot::Receiver<()>);

impl EngineThread {
    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// When it ended by a panic.
    pub async fn ended(self) -> Result<(), ServiceError> {
        self.0.await.map_err(|_| ServiceError::Internal("the engine thread panicked".into()))
    }
}

/// The events of one reply. Dropping it frees the request's slot within a step.
pub struct ReplyStream {
    /// The request that it answers.
    pub request_id: RequestId,
    events: mpsc::UnboundedReceiver<Result<ReplyEvent, ServiceError>>,
}

impl Stream for ReplyStream {
    type Item = Result<ReplyEvent, ServiceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx)
    }
}

/// Starts the engine on its own OS thread.
///
/// # Errors
/// When the limits contradict each other or the thread cannot be started.
pub fn spawn(
    runner: Box<dyn ModelRunner>,
    vocabulary: Arc<dyn Vocabulary>,
    config: EngineConfig,
    link: PredictorLink,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(EngineHandle, EngineThread)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "each request holds a place in the queue; the engine takes all commands in every step"
    )]
    let (commands, receiver) = mpsc::unbounded_channel();
    let handle = EngineHandle {
        commands,
        queue: Arc::new(Semaphore::new(config.max_waiting)),
        queue_length: config.max_waiting,
        live: LiveIds::default(),
        draining: Arc::default(),
        model: Arc::new(runner.spec().clone()),
        sends_prompts: config.prompt_text,
        link: link.clone(),
        metrics: Arc::clone(&metrics),
    };
    let engine = Engine::new(runner, vocabulary, &config, link, metrics, receiver)?;
    let (ended, thread) = oneshot::channel();
    thread::Builder::new().name("engine".into()).spawn(move || {
        engine.run();
        // Nobody may be waiting for the end.
        let _ = ended.send(());
    })?;
    Ok((handle, EngineThread(thread)))
}

impl EngineHandle {
    /// Queues a request.
    ///
    /// # Errors
    /// `ResourceExhausted` if the queue is full, `AlreadyExists` if the id is live, `Unavailable` while stopping.
    pub fn submit(&self, mut request: PreparedRequest) -> Result<ReplyStream, ServiceError> {
        if self.is_draining() {
            return Err(stopping());
        }
        let queue_slot = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| ServiceError::ResourceExhausted {
            message: format!("queue is full ({} requests waiting): try again later", self.queue_length),
            retry_after: RETRY_AFTER,
        })?;
        let live = self.live.claim(&request.request_id)?;
        let prompt = request.prompt_text.take().filter(|_| self.sends_prompts);
        let announcement = request.announcement(&self.model, prompt);
        let request_id = request.request_id.clone();
        #[expect(clippy::disallowed_methods, reason = "a reply has at most max_tokens chunks")]
        let (reply, events) = mpsc::unbounded_channel();
        let submission = Submission { request, reply, submitted: Instant::now(), live, queue_slot };

        let draining = self.draining();
        if *draining || self.commands.is_closed() {
            return Err(stopping());
        }
        // Before the engine can send the first step event. The engine takes what is sent from here on, unless it panics.
        self.link.announce(announcement);
        self.commands.send(Command::Submit(Box::new(submission))).map_err(|_| stopping())?;
        drop(draining);
        Ok(ReplyStream { request_id, events })
    }

    /// Ends a request within a step; its reply completes with reason abort. False if it is not live.
    pub fn abort(&self, id: RequestId) -> bool {
        self.live.contains(&id) && self.commands.send(Command::Abort(id)).is_ok()
    }

    /// Takes no more requests and ends the thread when the live ones are done, or at the deadline.
    pub fn drain(&self, deadline: Instant) {
        let mut draining = self.draining();
        *draining = true;
        // A thread that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain(deadline));
    }

    /// Whether a shutdown has begun.
    pub fn is_draining(&self) -> bool {
        *self.draining()
    }

    fn draining(&self) -> MutexGuard<'_, bool> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model being served.
    pub fn model(&self) -> &ModelSpec {
        &self.model
    }

    /// The link to the predictor.
    pub fn link(&self) -> &PredictorLink {
        &self.link
    }

    /// Counters and the current load.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

fn stopping() -> ServiceError {
    ServiceError::Unavailable("the worker is stopping: try another one".into())
}
