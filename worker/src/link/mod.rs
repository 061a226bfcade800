//! The link to the predictor. The engine sends and reads without ever waiting.
//!
//! # Layout
//! - `outbox`: what still has to reach the predictor
//! - `estimates`: what came back, and the fallback
//! - `state`: both, behind locks
//! - `client`: the connection; `backoff`: when to try again

mod backoff;
mod client;
mod estimates;
pub(crate) mod outbox;
mod state;

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eoscast_proto::domain::{RequestStarted, StepBatch, WorkerRun};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use estimates::EstimateTable;
pub(crate) use estimates::ForecastBasis;
use outbox::StepReport;
use state::LinkState;

const CONNECT_POLL: Duration = Duration::from_millis(5);

/// The engine's end of the link. Cheap to clone; no call waits for the network.
#[derive(Clone)]
pub struct PredictorLink {
    listener: Arc<Listener>,
    state: Arc<LinkState>,
}

/// Who gets the step batches.
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
    /// The run that batches are of: the start of the process, unless the predictor asked for another one.
    pub epoch: u64,
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
        #[expect(clippy::disallowed_methods, reason = "the reader is in this process and keeps up with the engine")]
        let (sender, batches) = mpsc::unbounded_channel();
        (Self::with_listener(Listener::Local(sender), run), batches)
    }

    fn with_listener(listener: Listener, run: WorkerRun) -> Self {
        Self { listener: Arc::new(listener), state: Arc::new(LinkState::new(run)) }
    }

    /// Keeps the link connected until `shutdown`, then delivers what is left within two seconds.
    ///
    /// # Errors
    /// When the endpoint is not a URI.
    pub fn spawn(&self, shutdown: CancellationToken) -> Result<Option<JoinHandle<()>>, tonic::transport::Error> {
        let Listener::Predictor(uri) = &*self.listener else { return Ok(None) };
        let endpoint = eoscast_proto::transport::endpoint(uri)?;
        Ok(Some(tokio::spawn(client::run(Arc::clone(&self.state), endpoint, shutdown))))
    }

    /// Sends a request's arrival at once, so that an estimate may be there when it is first scheduled.
    pub(crate) fn announce(&self, started: RequestStarted) {
        self.estimates().insert(started.request_id.clone());
        let load = Default::default();
        self.report(StepReport { started: vec![started], load, ..Default::default() });
    }

    /// Sends what a step did.
    pub(crate) fn report(&self, report: StepReport) {
        match &*self.listener {
            Listener::Nobody => {}
            Listener::Predictor(_) => {
                if self.state.outbox().push(report, now_micros()) {
                    self.state.may_send.notify_one();
                }
            }
            Listener::Local(batches) => {
                // Sent under the lock, so that batches arrive in the order of their numbers. A receiver that is gone needs none.
                let mut outbox = self.state.outbox();
                let _ = batches.send(outbox.number(report, now_micros()));
            }
        }
    }

    /// The estimates, locked: short reads only.
    pub fn estimates(&self) -> MutexGuard<'_, EstimateTable> {
        self.state.estimates()
    }

    /// Waits until a stream is open, at most for `patience`; whether it is.
    pub async fn connected_within(&self, patience: Duration) -> bool {
        let opened = async {
            while !self.state.is_connected() {
                tokio::time::sleep(CONNECT_POLL).await;
            }
        };
        matches!(*self.listener, Listener::Predictor(_)) && tokio::time::timeout(patience, opened).await.is_ok()
    }

    /// How the link stands.
    pub fn status(&self) -> LinkStatus {
        let outbox = self.state.outbox();
        let (epoch, (sequence_number, acknowledged, dropped_steps)) = (outbox.run().epoch, outbox.progress());
        drop(outbox);
        let endpoint = match &*self.listener {
            Listener::Predictor(uri) => Some(uri.clone()),
            Listener::Nobody | Listener::Local(_) => None,
        };
        LinkStatus {
            endpoint,
            connected: self.state.is_connected(),
            epoch,
            sequence_number,
            acknowledged,
            dropped_steps,
            reconnects: self.state.streams_opened().saturating_sub(1),
        }
    }
}

/// Microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    // Fits until the year 294,000.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
