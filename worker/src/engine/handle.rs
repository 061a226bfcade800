//! The async side of the engine: submit, abort, loads, shutdown.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{ReplyEvent, RequestId};
use eoscast_proto::status::ServiceError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::Stream;

use super::prepare::PreparedRequest;
use super::sequence::{Sequence, Submission};
use super::step::{Engine, EngineConfig};
use crate::link::PredictorLink;
use crate::metrics::Metrics;
use crate::runner::{ModelRunner, ModelSpec};
use eoscast_model::text::Vocabulary;

/// When a client may try again after the queue was full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the engine thread is told.
pub(crate) enum Command {
    Submit(Box<Submission>),
    Abort(RequestId),
    /// Finish what is live; abort what is left at the deadline.
    Drain(Instant),
}

/// Talks to the engine thread. Cheap to clone; the thread ends when all handles are gone.
#[derive(Clone)]
pub struct EngineHandle {
    commands: mpsc::UnboundedSender<Command>,
    /// One permit per place in the queue.
    queue: Arc<Semaphore>,
    queue_length: usize,
    live: LiveIds,
    draining: Arc<AtomicBool>,
    model: Arc<ModelSpec>,
    tells_prompts: bool,
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
pub struct Reply {
    /// Whose.
    pub request_id: RequestId,
    events: mpsc::UnboundedReceiver<Result<ReplyEvent, ServiceError>>,
}

impl Stream for Reply {
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
    let (commands, receiver) = mpsc::unbounded_channel();
    let handle = EngineHandle {
        commands,
        queue: Arc::new(Semaphore::new(config.max_waiting)),
        queue_length: config.max_waiting,
        live: LiveIds::default(),
        draining: Arc::default(),
        model: Arc::new(runner.spec().clone()),
        tells_prompts: config.prompt_text,
        link: link.clone(),
        metrics: Arc::clone(&metrics),
    };
    let engine = Engine::new(runner, vocabulary, config, link, metrics, receiver)?;
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
    pub fn submit(&self, mut request: PreparedRequest) -> Result<Reply, ServiceError> {
        let stopping = || ServiceError::Unavailable("the worker is stopping: try another one".into());
        if self.is_draining() {
            return Err(stopping());
        }
        let queue_slot = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| ServiceError::ResourceExhausted {
            message: format!("queue is full ({} requests waiting): try again later", self.queue_length),
            retry_after: RETRY_AFTER,
        })?;
        let live = self.live.claim(&request.request_id)?;
        let prompt = request.prompt_text.take().filter(|_| self.tells_prompts);
        self.link.announce(Sequence::announcement(&request, prompt, &self.model));
        let request_id = request.request_id.clone();
        let (reply, events) = mpsc::unbounded_channel();
        let submission = Submission { request, reply, submitted: Instant::now(), live, queue_slot };
        self.commands.send(Command::Submit(Box::new(submission))).map_err(|_| stopping())?;
        Ok(Reply { request_id, events })
    }

    /// Ends a request within a step; its reply completes with reason abort. False if it is not live.
    pub fn abort(&self, id: RequestId) -> bool {
        self.live.contains(&id) && self.commands.send(Command::Abort(id)).is_ok()
    }

    /// Takes no more requests and ends the thread when the live ones are done, or at the deadline.
    pub fn drain(&self, deadline: Instant) {
        self.draining.store(true, Ordering::Relaxed);
        // A thread that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain(deadline));
    }

    /// Whether a shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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

/// Ids of live requests, so that a second one of the same name is refused at once.
#[derive(Clone, Default)]
struct LiveIds(Arc<Mutex<HashSet<RequestId>>>);

impl LiveIds {
    fn claim(&self, id: &RequestId) -> Result<LiveId, ServiceError> {
        let claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if claimed {
            Ok(LiveId { ids: self.clone(), id: id.clone() })
        } else {
            Err(ServiceError::AlreadyExists(format!("request_id: {id} is in use by a live request")))
        }
    }

    fn contains(&self, id: &RequestId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// Holds an id; dropping it makes the id free again.
pub(crate) struct LiveId {
    ids: LiveIds,
    id: RequestId,
}

impl Drop for LiveId {
    fn drop(&mut self) {
        self.ids.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
