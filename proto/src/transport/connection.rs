//! What is known of one connection, and how it is ended.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::admission::{Candidate, Phase};
use super::client::Client;
use super::counts::{Counts, Ending};
use super::limits::Limits;
use super::responses::Responses;

/// A client's preface of HTTP/2: its 24 bytes and the header of a SETTINGS frame.
const PREFACE_BYTES: u64 = 24 + 9;

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) counts: Arc<Counts>,
    /// All connections together hold more bytes than they may.
    pub(super) pressure: Notify,
    started: Instant,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default(), pressure: Notify::new(), started: Instant::now() }
    }

    /// Milliseconds since the listener began, from 1.
    fn now(&self) -> u64 {
        // Fits for 584 million years.
        self.started.elapsed().as_millis() as u64 + 1
    }
}

/// One connection, as its task, its requests and the sweep see it.
pub(super) struct Connection {
    shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) client: Client,
    /// Connections of that client.
    siblings: Arc<AtomicUsize>,
    /// `None` once the connection has ended.
    stream: Mutex<Option<TcpStream>>,
    /// Whether it is ready for requests as soon as its preface has come.
    has_preface: bool,
    opened: u64,
    /// When it is as old as it may be.
    age_limit: Option<u64>,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// Since when a write waits for the client; 0 if none does.
    unread_since: AtomicU64,
    received: AtomicU64,
    has_begun: AtomicBool,
    requests: AtomicUsize,
    /// Those among them that end only by their client.
    endless: AtomicUsize,
    /// Those that may wait for their client; the sweep gives up what waits too long.
    pub(super) responses: Responses,
    held: AtomicUsize,
    is_counted: AtomicBool,
    is_cut: AtomicBool,
    closing: CancellationToken,
    cut: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: u64,
        stream: TcpStream,
        peer: SocketAddr,
        siblings: Arc<AtomicUsize>,
        has_preface: bool,
    ) -> Arc<Self> {
        let now = shared.now();
        let jitter = 0.9 + 0.2 * fastrand::f64();
        let age_limit = shared.limits.age.map(|age| now + age.mul_f64(jitter).as_millis() as u64);
        Arc::new(Self {
            shared,
            id,
            peer,
            client: Client::at(peer.ip()),
            siblings,
            stream: Mutex::new(Some(stream)),
            has_preface,
            opened: now,
            age_limit,
            idle_since: AtomicU64::new(now),
            unread_since: AtomicU64::new(0),
            received: AtomicU64::new(0),
            has_begun: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            endless: AtomicUsize::new(0),
            responses: Responses::default(),
            held: AtomicUsize::new(0),
            is_counted: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Milliseconds since the listener began.
    pub(super) fn now(&self) -> u64 {
        self.shared.now()
    }

    pub(super) fn phase(&self) -> Phase {
        if self.requests.load(Ordering::Relaxed) > 0 {
            Phase::Busy
        } else if self.has_begun.load(Ordering::Relaxed)
            || self.has_preface && self.received.load(Ordering::Relaxed) >= PREFACE_BYTES
        {
            Phase::Idle
        } else {
            Phase::New
        }
    }

    /// As one that may have to give way.
    pub(super) fn candidate(&self) -> Candidate {
        let siblings = self.siblings.load(Ordering::Relaxed);
        Candidate { id: self.id, client: self.client, siblings, phase: self.phase() }
    }

    /// Ends it at once: its task, its requests, its socket.
    pub(super) fn cut(&self, ending: Ending) {
        self.count(ending);
        self.is_cut.store(true, Ordering::Relaxed);
        self.cut.cancel();
        self.closing.cancel();
    }

    /// Ends it when the requests that it has are answered.
    pub(super) fn close(&self, ending: Ending) {
        self.count(ending);
        self.closing.cancel();
    }

    fn count(&self, ending: Ending) {
        if !self.is_counted.swap(true, Ordering::Relaxed) {
            self.counts().count(ending);
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    pub(super) async fn was_cut(&self) {
        self.cut.cancelled().await;
    }

    /// What the sweep does with it now.
    pub(super) fn look(&self) {
        let (limits, now) = (&self.shared.limits, self.shared.now());
        let passed = |since: u64, limit: Duration| now.saturating_sub(since) as u128 >= limit.as_millis();
        let unread_since = self.unread_since.load(Ordering::Relaxed);
        if unread_since > 0 && passed(unread_since, limits.unread) {
            return self.cut(Ending::Unread);
        }
        let given_up = self.responses.give_up(|since| passed(since, limits.unread));
        self.counts().unread_responses.fetch_add(given_up as u64, Ordering::Relaxed);
        if let Some(limit) = self.age_limit.filter(|limit| *limit <= now) {
            self.close(Ending::Aged);
            let only_endless = self.requests.load(Ordering::Acquire) == self.endless.load(Ordering::Relaxed);
            // The answer to the last other request may still be on its way.
            let since = limit.max(self.idle_since.load(Ordering::Relaxed));
            if only_endless && passed(since, limits.first_request) {
                return self.cut(Ending::Aged);
            }
        }
        match self.phase() {
            Phase::Busy if self.is_gone() => self.cut(Ending::ClientGone),
            Phase::Busy => {}
            Phase::New if passed(self.opened, limits.first_request) => self.cut(Ending::NoRequest),
            Phase::New => {}
            Phase::Idle => {
                let idle_since = self.idle_since.load(Ordering::Relaxed);
                // The client did not close after we asked it to.
                if passed(idle_since, limits.idle + limits.first_request) {
                    self.cut(Ending::Idle);
                } else if passed(idle_since, limits.idle) {
                    self.close(Ending::Idle);
                }
            }
        }
    }

    /// Whether the client has closed its side. HTTP/1 does not see that as long as bytes wait to be read.
    fn is_gone(&self) -> bool {
        let stream = self.stream();
        let Some(stream) = stream.as_ref() else { return true };
        let mut context = Context::from_waker(Waker::noop());
        match pin!(stream.ready(Interest::READABLE)).poll(&mut context) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// The socket, unless the connection has ended.
    pub(super) fn stream(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn on_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A write was tried; `waits` if the client has to read first.
    pub(super) fn on_write(&self, waits: bool) {
        if !waits {
            self.unread_since.store(0, Ordering::Relaxed);
        } else if self.unread_since.load(Ordering::Relaxed) == 0 {
            self.unread_since.store(self.shared.now(), Ordering::Relaxed);
        }
    }

    /// Bytes that it makes the process hold.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        let together = self.counts().held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if together > self.limits().held_bytes {
            self.shared.pressure.notify_one();
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.counts().held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A request begins; it ends with the guard. `is_endless` if it ends only by its client.
    pub(super) fn begin(self: &Arc<Self>, is_endless: bool) -> InFlight {
        self.has_begun.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.endless.fetch_add(is_endless.into(), Ordering::Relaxed);
        InFlight { connection: Arc::clone(self), is_endless }
    }
}

/// A request from its header to the end of its response.
pub(super) struct InFlight {
    connection: Arc<Connection>,
    is_endless: bool,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Before the count, so that the sweep does not see an old time.
        let Self { connection, is_endless } = self;
        connection.idle_since.store(connection.shared.now(), Ordering::Relaxed);
        connection.endless.fetch_sub((*is_endless).into(), Ordering::Relaxed);
        connection.requests.fetch_sub(1, Ordering::Release);
    }
}
