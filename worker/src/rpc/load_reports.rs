//! `xds.service.orca.v3.OpenRcaService`: load reports beside the requests, for balancers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eoscast_proto::status::{FieldViolation, ServiceError};
use eoscast_proto::xds::data::orca::v3::OrcaLoadReport;
use eoscast_proto::xds::service::orca::v3 as pb;
use pb::open_rca_service_server::OpenRcaService;
pub(crate) use pb::open_rca_service_server::{OpenRcaServiceServer, SERVICE_NAME};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Request, Response, Status};

use crate::bounds::{Place, Places, RETRY_AFTER, client_of};
use crate::engine::EngineHandle;
use crate::load_report;

/// Shortest time from one report to the next; a shorter one, or none, is taken for it. The load is not forecast more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Most streams. A balancer needs one; Envoy has one for each of its processes.
const MOST_STREAMS: usize = 256;

/// The service.
pub(crate) struct LoadReports {
    engine: EngineHandle,
    places: Places,
    /// Ends all streams.
    stop: CancellationToken,
}

impl LoadReports {
    /// Reports the load of `engine` until `stop`.
    pub(crate) fn new(engine: EngineHandle, stop: CancellationToken) -> Self {
        Self { engine, places: Places::new(MOST_STREAMS), stop }
    }
}

#[tonic::async_trait]
impl OpenRcaService for LoadReports {
    type StreamCoreMetricsStream = Reports;

    async fn stream_core_metrics(
        &self,
        request: Request<pb::OrcaLoadReportRequest>,
    ) -> Result<Response<Reports>, Status> {
        let interval = interval(request.get_ref().report_interval)?;
        let refused = self.engine.metrics().load_report_streams_refused();
        let Some((mut places, evicted)) = self.places.take(client_of(request.extensions()), 1) else {
            refused.inc();
            return Err(too_many_streams().into());
        };
        refused.inc_by(evicted as u64);
        let place = places.pop().ok_or_else(too_many_streams)?;
        Ok(Response::new(Reports::new(self, place, interval)))
    }
}

/// How often the client wants a report.
fn interval(wanted: Option<prost_types::Duration>) -> Result<Duration, ServiceError> {
    let wanted = wanted.unwrap_or_default();
    let invalid = |_| FieldViolation::new("report_interval", format!("must not be negative, got {wanted}"));
    Ok(Duration::try_from(wanted).map_err(invalid)?.max(SHORTEST_INTERVAL))
}

fn too_many_streams() -> ServiceError {
    let message = format!("{MOST_STREAMS} streams of load reports are open, which is the most: close some");
    ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER }
}

/// The reports of one stream.
pub(crate) struct Reports {
    engine: EngineHandle,
    due: Interval,
    /// One more report is due when the worker begins to stop. None once it was made.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    lost: Pin<Box<WaitForCancellationFutureOwned>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    has_ended: bool,
    _place: Place,
    _open: Open,
}

impl Reports {
    fn new(service: &LoadReports, place: Place, interval: Duration) -> Self {
        let mut due = tokio::time::interval(interval);
        // A client that does not read gets no old reports later.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let engine = service.engine.clone();
        Self {
            due,
            stopping: Some(Box::pin(engine.stopping().cancelled_owned())),
            lost: Box::pin(place.lost().cancelled_owned()),
            stop: Box::pin(service.stop.clone().cancelled_owned()),
            has_ended: false,
            _place: place,
            _open: Open::new(engine.metrics().load_report_streams()),
            engine,
        }
    }

    /// Waits until the stream ends, and gives why.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ServiceError> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ServiceError::Unavailable("the worker is stopping: try another one".into()));
        }
        self.lost.as_mut().poll(cx).map(|()| too_many_streams())
    }

    /// Waits until a report is due.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            self.stopping = None;
            return Poll::Ready(());
        }
        self.due.poll_tick(cx).map(drop)
    }
}

impl Stream for Reports {
    type Item = Result<OrcaLoadReport, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reports = &mut *self;
        if reports.has_ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = reports.poll_end(cx) {
            reports.has_ended = true;
            return Poll::Ready(Some(Err(error.into())));
        }
        ready!(reports.poll_due(cx));
        Poll::Ready(Some(Ok(load_report::of(&reports.engine).into())))
    }
}

/// Counts a stream as long as it is open.
struct Open(Gauge);

impl Open {
    fn new(streams: Gauge) -> Self {
        streams.inc();
        Self(streams)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
