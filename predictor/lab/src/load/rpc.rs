//! The connections: one stream for each worker, a thread that sends to all of them, and tasks that take in the answers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use eoscast_proto::codec::MessageCodec;
use eoscast_proto::predictor::v1::predictor_service_server::SERVICE_NAME;
use eoscast_proto::transport::{self, MOST_UNACKNOWLEDGED};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;

use super::pace::{Lateness, Pace};
use super::player::{Played, Player};
use super::report::{Latencies, LoadReport};
use super::usage::{ThreadShare, ThreadTime};
use super::wire::{Answer, Steps};

/// Messages of one stream on the way to its connection, as a worker has them.
const WINDOW: usize = 16;
/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// One worker's stream, as the sending thread sees it.
struct Sending {
    player: Player,
    messages: mpsc::Sender<Steps>,
    on_the_way: Arc<OnTheWay>,
}

/// What one stream has sent and not heard of.
struct OnTheWay {
    /// Messages that wait for their estimates, oldest first.
    unanswered: Mutex<VecDeque<Asked>>,
    /// Numbers and entries of messages that wait for their acknowledgement, oldest first.
    unacknowledged: Mutex<VecDeque<(u64, u32)>>,
    /// Entries that may be sent: as the contract says, so many may be unacknowledged.
    room: Semaphore,
}

/// A message that was due `at` this time, and is to be answered with so many `estimates`.
struct Asked {
    at: Instant,
    estimates: usize,
}

impl OnTheWay {
    fn new() -> Self {
        let (unanswered, unacknowledged) = (Mutex::default(), Mutex::default());
        Self { unanswered, unacknowledged, room: Semaphore::new(MOST_UNACKNOWLEDGED) }
    }

    /// The predictor acknowledges the messages up to this number.
    fn acknowledge(&self, sequence_number: u64) {
        let mut waiting = lock(&self.unacknowledged);
        let acknowledged = waiting.partition_point(|(number, _)| *number <= sequence_number);
        let entries: u32 = waiting.drain(..acknowledged).map(|(_, entries)| entries).sum();
        self.room.add_permits(entries as usize);
    }
}

impl Sending {
    /// Waits until `message` may be sent; `None` once the stream has ended. Gives how long it waited.
    fn reserve(&self, message: &Steps, runtime: &Handle) -> Option<(mpsc::Permit<'_, Steps>, Duration)> {
        let entries = (message.started.len() + message.events.len() + message.ended.len()) as u32;
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        match self.on_the_way.room.try_acquire_many(entries) {
            Ok(room) => room.forget(),
            Err(_) => {
                let room = self.on_the_way.room.acquire_many(entries);
                let room = async {
                    tokio::select! { room = room => room.ok(), () = self.messages.closed() => None }
                };
                runtime.block_on(room)?.forget();
                waited = began.elapsed();
            }
        }
        let permit = match self.messages.try_reserve() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = runtime.block_on(self.messages.reserve()).ok()?;
                waited = began.elapsed();
                permit
            }
        };
        lock(&self.on_the_way.unacknowledged).push_back((message.sequence_number, entries));
        Some((permit, waited))
    }
}

/// Nobody panics while holding one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the sending thread did.
struct Sent {
    events: u64,
    messages: u64,
    late: Latencies,
    thread: Option<ThreadShare>,
}

/// What came in on one stream.
struct Received {
    acknowledged: u64,
    is_logged: bool,
}

/// Plays `players` to the predictor at `uri`, each on a connection of its own, in turn; `progress` gets the events sent so far.
/// To be run on a runtime of one thread: what reads from a connection then takes the estimates without waking another thread.
///
/// # Errors
/// When the predictor cannot be reached, ends a stream, or answers a message with other estimates than it asked for.
pub async fn play(
    uri: &str,
    players: Vec<Player>,
    pace: Pace,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<LoadReport> {
    ensure!(!players.is_empty(), "there are no workers to play");
    let streams = players.len();
    let answers = Arc::new(Mutex::new(Latencies::new()?));
    let (mut sending, mut receiving) = (vec![], JoinSet::new());
    for player in players {
        let (messages, queue) = mpsc::channel(WINDOW);
        let on_the_way = Arc::new(OnTheWay::new());
        receiving.spawn(receive(open(uri, queue).await?, on_the_way.clone(), answers.clone()));
        sending.push(Sending { player, messages, on_the_way });
    }
    let (begun, thread) = (Instant::now(), ThreadTime::now());
    let done = Arc::new(AtomicU64::new(0));
    let (runtime, counter) = (Handle::current(), done.clone());
    // A thread of its own, since the runtime's timers are a millisecond coarse.
    let sent = tokio::task::spawn_blocking(move || send(sending, pace, begun, &runtime, &counter));
    let (mut acknowledged, mut logged) = (0, true);
    let mut show = tokio::time::interval(SHOWN_EVERY);
    loop {
        tokio::select! {
            ended = receiving.join_next() => {
                let Some(stream) = ended else { break };
                let stream = stream??;
                acknowledged += stream.acknowledged;
                logged &= stream.is_logged;
            }
            _ = show.tick() => progress(done.load(Ordering::Relaxed)),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let connections = thread.and_then(ThreadTime::since);
    let Sent { events, messages, late, thread } = sent.await??;
    ensure!(
        acknowledged == messages,
        "the predictor acknowledged {acknowledged} of {messages} messages only; its log says why"
    );
    let estimate_ms = lock(&answers).millis();
    Ok(LoadReport {
        streams,
        events,
        messages,
        seconds,
        events_per_s: events as f64 / seconds,
        wanted_events_per_s: pace.events_per_s,
        estimate_ms,
        late_ms: pace.events_per_s.map(|_| late.millis()),
        logged,
        sending: thread,
        connections,
        predictor: None,
    })
}

async fn open(uri: &str, messages: mpsc::Receiver<Steps>) -> anyhow::Result<Streaming<Answer>> {
    let endpoint = transport::endpoint(uri).with_context(|| format!("{uri} is not a URL"))?;
    let channel =
        endpoint.connect().await.with_context(|| format!("no predictor answers at {uri}; start serve there"))?;
    let mut client = Grpc::new(channel);
    client.ready().await.context("the connection broke")?;
    let method = format!("/{SERVICE_NAME}/StreamSteps").try_into()?;
    let messages = tonic::Request::new(ReceiverStream::new(messages));
    Ok(client.streaming(messages, method, MessageCodec::<Steps, Answer>::default()).await?.into_inner())
}

/// Sends the messages of all streams in turn until the time is over. Dropping what sends half-closes the streams: the predictor
/// answers what is on the way and acknowledges it.
fn send(
    mut streams: Vec<Sending>,
    pace: Pace,
    begun: Instant,
    runtime: &Handle,
    done: &AtomicU64,
) -> anyhow::Result<Sent> {
    let thread = ThreadTime::now();
    let (mut events, mut late, mut lateness) = (0, Latencies::new()?, Lateness::default());
    'time: loop {
        for stream in &mut streams {
            if begun.elapsed() >= pace.duration {
                break 'time;
            }
            let due = pace.due(begun, events);
            let ahead = || due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
            let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + ahead();
            // Made before it is due, as an engine makes its events while it computes.
            let Played { message, estimates } =
                stream.player.step(pace.live, i64::try_from(timestamp.as_micros()).unwrap_or(i64::MAX))?;
            let ahead = ahead();
            if !ahead.is_zero() {
                std::thread::sleep(ahead);
                lateness.was_ahead();
            }
            let now = Instant::now();
            let at = due.map_or(now, |due| {
                let own = lateness.own(now.saturating_duration_since(due));
                late.record(own);
                due + own
            });
            let sent = message.events.len() as u64;
            // What receives from a stream that has ended says why.
            let Some((permit, waited)) = stream.reserve(&message, runtime) else { break 'time };
            lateness.was_held(waited);
            if estimates > 0 {
                lock(&stream.on_the_way.unanswered).push_back(Asked { at, estimates });
            }
            permit.send(message);
            events += sent;
            done.store(events, Ordering::Relaxed);
        }
    }
    let messages = streams.iter().map(|stream| stream.player.messages()).sum();
    Ok(Sent { events, messages, late, thread: thread.and_then(ThreadTime::since) })
}

/// Takes in what answers one stream until it ends; the times go to `answers`.
async fn receive(
    mut responses: Streaming<Answer>,
    on_the_way: Arc<OnTheWay>,
    answers: Arc<Mutex<Latencies>>,
) -> anyhow::Result<Received> {
    let mut received = Received { acknowledged: 0, is_logged: true };
    while let Some(answer) = responses.message().await.context("the predictor ended the stream")? {
        let estimates = answer.estimates.len();
        if estimates > 0 {
            let asked = lock(&on_the_way.unanswered).pop_front().context("the predictor answers what nobody asked")?;
            ensure!(
                estimates == asked.estimates,
                "the predictor answered a message with {estimates} estimates instead of {}",
                asked.estimates
            );
            lock(&answers).record(asked.at.elapsed());
        }
        if answer.acknowledged_sequence_number > received.acknowledged {
            received.acknowledged = answer.acknowledged_sequence_number;
            on_the_way.acknowledge(received.acknowledged);
        }
        received.is_logged &= answer.logged || answer.acknowledged_sequence_number == 0;
    }
    let left = lock(&on_the_way.unanswered).len();
    ensure!(left == 0, "the predictor left {left} messages without an answer");
    Ok(received)
}
