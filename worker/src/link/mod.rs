//! The link to the predictor. The engine tells and asks without ever waiting.
//!
//! # Layout
//! - [`outbox`]: what still has to reach the predictor
//! - [`estimates`]: what came back, and the fallback
//! - `client`: the connection

mod client;
pub mod estimates;
pub mod outbox;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eoscast_proto::domain::{RequestStarted, StepBatch, WorkerRun};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use estimates::EstimateTable;
use outbox::{Outbox, StepReport};

/// How long a shutdown waits for the last acknowledgements.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
const CONNECT_POLL: Duration = Duration::from_millis(5);

/// The engine's end of the link. Cheap to clone; no call waits for the network.
#[derive(Clone)]
pub struct PredictorLink(Arc<Shared>);

struct Shared {
    listener: Listener,
    outbox: Mutex<Outbox>,
    estimates: Mutex<EstimateTable>,
    news: Notify,
    connected: AtomicBool,
    /// Streams opened so far.
    streams: AtomicU64,
}

/// Who is told what the engine does.
enum Listener {
    Nobody,
    /// The predictor at this URI.
    Predictor(String),
    /// Somebody in this process.
    Local(mpsc::UnboundedSender<StepBatch>),
}

/// How the link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// `None`: there is no predictor.
    pub endpoint: Option<String>,
    /// Whether a stream is open.
    pub connected: bool,
    /// Of the newest batch.
    pub sequence_number: u64,
    /// Of the last batch that the predictor has processed and logged.
    pub acknowledged: u64,
    /// Steps lost because the predictor did not keep up or was away.
    pub dropped_steps: u64,
    /// Streams opened after the first.
    pub reconnects: u64,
}

impl PredictorLink {
    /// A link to `endpoint`, for one run of a worker; without an endpoint nothing is kept.
    pub fn new(endpoint: Option<String>, run: WorkerRun) -> Self {
        Self::with_listener(endpoint.map_or(Listener::Nobody, Listener::Predictor), run)
    }

    /// A link to this process: every batch that a predictor would be sent comes out at the other end, which has to keep up.
    pub fn local(run: WorkerRun) -> (Self, mpsc::UnboundedReceiver<StepBatch>) {
        let (sender, batches) = mpsc::unbounded_channel();
        (Self::with_listener(Listener::Local(sender), run), batches)
    }

    fn with_listener(listener: Listener, run: WorkerRun) -> Self {
        Self(Arc::new(Shared {
            listener,
            outbox: Mutex::new(Outbox::new(run)),
            estimates: Mutex::default(),
            news: Notify::new(),
            connected: AtomicBool::new(false),
            streams: AtomicU64::new(0),
        }))
    }

    /// Keeps the link connected until `shutdown`, then delivers what is left within two seconds.
    ///
    /// # Errors
    /// When the endpoint is not a URI.
    pub fn spawn(&self, shutdown: CancellationToken) -> Result<Option<JoinHandle<()>>, tonic::transport::Error> {
        let Listener::Predictor(uri) = &self.0.listener else { return Ok(None) };
        let endpoint = eoscast_proto::transport::endpoint(uri)?;
        Ok(Some(tokio::spawn(client::run(self.clone(), endpoint, shutdown))))
    }

    /// Tells of a request's arrival at once, so that an estimate may be there when it is first scheduled.
    pub fn announce(&self, started: RequestStarted) {
        self.estimates().insert(started.request_id.clone());
        let load = Default::default();
        self.report(StepReport { started: vec![started], load, ..Default::default() });
    }

    /// Tells what a step did.
    pub fn report(&self, report: StepReport) {
        match &self.0.listener {
            Listener::Nobody => {}
            Listener::Predictor(_) => {
                if self.outbox().push(report, now_micros()) {
                    self.0.news.notify_one();
                }
            }
            Listener::Local(batches) => {
                // Sent under the lock, so that batches arrive in the order of their numbers. Who is gone needs none.
                let mut outbox = self.outbox();
                let _ = batches.send(outbox.number(report, now_micros()));
            }
        }
    }

    /// The estimates, locked: short reads only.
    pub fn estimates(&self) -> MutexGuard<'_, EstimateTable> {
        // A panic elsewhere leaves a table that is at worst out of date.
        self.0.estimates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a stream is open, at most for `patience`; whether it is.
    pub async fn connected_within(&self, patience: Duration) -> bool {
        let opened = async {
            while !self.is_connected() {
                tokio::time::sleep(CONNECT_POLL).await;
            }
        };
        matches!(self.0.listener, Listener::Predictor(_)) && tokio::time::timeout(patience, opened).await.is_ok()
    }

    fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    fn on_connected(&self) {
        self.outbox().on_connected();
        self.0.connected.store(true, Ordering::Relaxed);
        self.0.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// How the link stands.
    pub fn status(&self) -> LinkStatus {
        let (sequence_number, acknowledged, dropped_steps) = self.outbox().progress();
        let endpoint = match &self.0.listener {
            Listener::Predictor(uri) => Some(uri.clone()),
            Listener::Nobody | Listener::Local(_) => None,
        };
        LinkStatus {
            endpoint,
            connected: self.is_connected(),
            sequence_number,
            acknowledged,
            dropped_steps,
            reconnects: self.0.streams.load(Ordering::Relaxed).saturating_sub(1),
        }
    }
}

/// Microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    // Fits until the year 294,000.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
