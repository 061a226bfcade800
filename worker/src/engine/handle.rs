//! The async side of the engine: submit, abort, loads, shutdown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use eoscast_proto::domain::RequestId;
use eoscast_proto::status::ServiceError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::command::{Command, Submission};
use super::config::EngineConfig;
use super::encoders::Encoders;
use super::live_ids::LiveIds;
use super::prepare::PreparedRequest;
use super::reply::{self, ReplyStream};
use super::step::Engine;
use crate::bounds::{ByteBudget, ByteLimits, Places, RETRY_AFTER};
use crate::link::PredictorLink;
use crate::metrics::Metrics;
use crate::runner::{ModelRunner, ModelSpec};
use eoscast_model::text::Vocabulary;

/// Of requests that are read or wait to be encoded, as the client sent them. What is made of them on the way is a few times as much.
const REQUEST_LIMITS: ByteLimits = ByteLimits { account: 8 << 20, total: 32 << 20, client: 4 << 20 };

/// Talks to the engine thread. Cheap to clone; the thread ends when all handles are gone.
#[derive(Clone)]
pub struct EngineHandle {
    commands: mpsc::UnboundedSender<Command>,
    queue: Places,
    queue_length: usize,
    encoders: Encoders,
    request_bytes: Arc<ByteBudget>,
    unread: Arc<ByteBudget>,
    live: LiveIds,
    /// Locked while a request is announced and submitted, so that no Submit is queued behind a Drain.
    draining: Arc<Mutex<bool>>,
    /// Cancelled once health says so, while requests are still taken.
    stopping: CancellationToken,
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
        queue: Places::new(config.max_waiting),
        queue_length: config.max_waiting,
        encoders: Encoders::new(&metrics.encodings_waiting(), metrics.encodings_refused()),
        request_bytes: ByteBudget::new(REQUEST_LIMITS, metrics.request_bytes()),
        unread: ByteBudget::new(reply::unread_limits(config.most_unread_bytes), metrics.unread_bytes()),
        live: LiveIds::default(),
        draining: Arc::default(),
        stopping: CancellationToken::new(),
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
    pub fn submit(&self, request: PreparedRequest) -> Result<ReplyStream, ServiceError> {
        self.submit_all(vec![request]).and_then(|mut replies| replies.pop().ok_or_else(stopping))
    }

    /// Queues all requests, which are of one client, or none of them. Their replies have the same order.
    ///
    /// # Errors
    /// As of [`submit`](Self::submit).
    pub fn submit_all(&self, requests: Vec<PreparedRequest>) -> Result<Vec<ReplyStream>, ServiceError> {
        let draining = self.draining();
        if *draining || self.commands.is_closed() {
            return Err(stopping());
        }
        let ids = requests.iter().map(|request| self.live.claim(&request.request_id));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let client = requests.first().map(|request| request.client).unwrap_or_default();
        let Some((places, evicted)) = self.queue.take(client, requests.len()) else {
            return Err(self.queue_is_full(requests.len()));
        };
        self.metrics.on_evicted(evicted);

        let submitted = Instant::now();
        let mut replies = Vec::with_capacity(requests.len());
        for ((mut request, live), place) in requests.into_iter().zip(ids).zip(places) {
            let prompt = request.prompt_text.take().filter(|_| self.sends_prompts);
            // Before the engine can send the first step event. The engine takes what is sent from here on, unless it panics.
            self.link.announce(request.announcement(&self.model, prompt));
            let (reply, events) = reply::channel(request.request_id.clone(), self.unread.account(client));
            let submission = Submission { request, reply, submitted, live, place };
            self.commands.send(Command::Submit(Box::new(submission))).map_err(|_| stopping())?;
            replies.push(events);
        }
        drop(draining);
        Ok(replies)
    }

    fn queue_is_full(&self, wanted: usize) -> ServiceError {
        let (places, taken) = (self.queue_length, self.queue.taken());
        let message = match wanted {
            1 => format!("queue is full ({places} requests waiting): try again later"),
            _ => format!(
                "queue is full: {wanted} choices need a place each, and {taken} of {places} places are taken: try again \
                 later, or ask for fewer"
            ),
        };
        ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER }
    }

    /// Encodes texts, a few at a time.
    pub(crate) fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// Memory for requests that are read or wait to be encoded.
    pub(crate) fn request_bytes(&self) -> &Arc<ByteBudget> {
        &self.request_bytes
    }

    /// Memory for answers that clients have not taken.
    pub(crate) fn unread(&self) -> &Arc<ByteBudget> {
        &self.unread
    }

    /// Ends a request within a step; its reply completes with reason abort. False if it is not live.
    pub fn abort(&self, id: RequestId) -> bool {
        self.live.contains(&id) && self.commands.send(Command::Abort(id)).is_ok()
    }

    /// A shutdown is near: health says so, and balancers send requests elsewhere. Those that come are still taken.
    pub fn announce_stop(&self) {
        self.stopping.cancel();
    }

    /// Whether a shutdown was announced or has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled() || self.is_draining()
    }

    /// Cancelled when a shutdown is announced.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Takes no more requests and ends the thread when the live ones are done, or at the deadline.
    pub fn drain(&self, deadline: Instant) {
        let mut draining = self.draining();
        *draining = true;
        // A thread that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain(deadline));
    }

    /// Requests that were submitted and have not ended.
    pub fn live_requests(&self) -> Vec<RequestId> {
        self.live.list()
    }

    /// How many there are.
    pub fn live_count(&self) -> usize {
        self.live.count()
    }

    /// Whether no more requests are taken.
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
