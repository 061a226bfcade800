//! Prometheus metrics, and the page that shows them.

mod accuracy;
mod outstanding;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use eoscast_metrics::add;
use eoscast_metrics::format::Format;
use eoscast_proto::domain::StepBatch;
use eoscast_proto::status::ServiceError;
use eoscast_proto::transport::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pipeline::log_state::LogState;
use crate::retraining::decision::Decision;
use crate::tracker::{Tally, WorkerOutstanding};
use accuracy::AccuracyGauges;
use eoscast_log::record::{LineCounts, Lines};
use outstanding::OutstandingGauges;

/// Why a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    reason: &'static str,
}

/// What came of retraining.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RetrainingLabels {
    result: &'static str,
}

/// What of a stream was out of the ordinary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IrregularityLabels {
    kind: &'static str,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StreamErrorLabels {
    code: &'static str,
}

/// A series of the event log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SeriesLabels {
    series: &'static str,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    messages: Counter,
    events: Counter,
    /// Estimates sent.
    pub(crate) estimates: Counter,
    /// Step lines written.
    pub(crate) log_lines: Counter,
    /// Bytes written.
    pub(crate) log_bytes: Counter,
    log_lost_lines: Family<SeriesLabels, Counter>,
    log_state: Gauge,
    /// Requests followed.
    pub(crate) live_requests: Gauge,
    /// Streams open.
    pub(crate) streams: Gauge,
    /// Times that a stream was not read, since much waited for the log.
    pub(crate) stream_pauses: Counter,
    stream_errors: Family<StreamErrorLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    outcomes_not_learned: Counter,
    irregularities: Family<IrregularityLabels, Counter>,
    retrainings: Family<RetrainingLabels, Counter>,
    /// How good forecasts were.
    pub(crate) accuracy: AccuracyGauges,
    outstanding: OutstandingGauges,
    /// From receiving a message to its estimates.
    pub(crate) estimate_seconds: Histogram,
}

impl Default for Metrics {
    /// All at zero.
    fn default() -> Self {
        let (version, commit) = (env!("CARGO_PKG_VERSION"), eoscast_cli::commit());
        let mut registry = eoscast_metrics::registry("eoscast_predictor", version, commit);
        let ours = registry.sub_registry_with_prefix("eoscast_predictor");
        let accuracy = AccuracyGauges::default();
        ours.register_collector(Box::new(accuracy.clone()));
        let outstanding = OutstandingGauges::default();
        ours.register_collector(Box::new(outstanding.clone()));
        Self {
            messages: add(ours, "messages", "Messages received from workers", Counter::default()),
            events: add(ours, "events", "Step events received from workers", Counter::default()),
            estimates: add(ours, "estimates", "Estimates sent to workers", Counter::default()),
            log_lines: add(ours, "log_lines", "Step lines written to the event log", Counter::default()),
            log_bytes: add(ours, "log_bytes", "Bytes written to the event log", Counter::default()),
            log_lost_lines: add(
                ours,
                "log_lost_lines",
                "Lines that the event log lacks: they could not be written, or their file was deleted while it was written",
                Family::default(),
            ),
            log_state: add(ours, "log_state", "Event log: 1 written, 0 off, -1 failed", Gauge::default()),
            live_requests: add(ours, "live_requests", "Requests being followed", Gauge::default()),
            streams: add(ours, "streams", "Open streams of workers", Gauge::default()),
            stream_pauses: add(
                ours,
                "stream_pauses",
                "Times that a worker's stream was not read for a while, since too much waited to be written to the event log",
                Counter::default(),
            ),
            stream_errors: add(
                ours,
                "stream_errors",
                "Streams of workers that were ended by an error, by gRPC status code",
                Family::default(),
            ),
            outcomes: add(ours, "outcomes", "Finished requests by reason", Family::default()),
            outcomes_not_learned: add(
                ours,
                "outcomes_not_learned",
                "Finished requests that models do not learn: too few steps seen for their length, or their worker has its share",
                Counter::default(),
            ),
            irregularities: add(
                ours,
                "irregularities",
                "Tolerated irregularities by kind: what was seen before, is missing, or is not known",
                Family::default(),
            ),
            retrainings: add(
                ours,
                "retrainings",
                "Retrainings by result: swapped in, kept what served, or failed",
                Family::default(),
            ),
            estimate_seconds: add(
                ours,
                "estimate_seconds",
                "Time from receiving a message to handing out its estimates",
                // 10 us to 0.3 s.
                Histogram::new(exponential_buckets(1e-5, 2.0, 16)),
            ),
            accuracy,
            outstanding,
            registry,
        }
    }
}

impl Metrics {
    /// Shows the connections of listeners, too, each under its name.
    pub(crate) fn show_connections(&mut self, listeners: Vec<(&'static str, Arc<Counts>)>) {
        eoscast_metrics::connections::register(&mut self.registry, "eoscast_predictor", listeners);
    }

    /// Counts one message.
    pub(crate) fn observe(&self, batch: &StepBatch, tally: &Tally) {
        self.messages.inc();
        self.events.inc_by(batch.events.len() as u64);
        if *tally == Tally::default() {
            return;
        }
        for (kind, count) in [
            ("duplicate_message", tally.duplicate_messages),
            ("missing_message", tally.missing_messages),
            ("duplicate_step", tally.duplicate_steps),
            ("step_gap", tally.step_gaps),
            ("unknown_request", tally.unknown_requests),
        ] {
            if count > 0 {
                self.irregularities.get_or_create(&IrregularityLabels { kind }).inc_by(count);
            }
        }
    }

    /// Counts lines that the event log lacks.
    pub(crate) fn count_lost_lines(&self, lost: LineCounts) {
        for (series, lines) in [("starts", lost.starts), ("requests", lost.requests), ("steps", lost.steps)] {
            if lines > 0 {
                self.log_lost_lines.get_or_create(&SeriesLabels { series }).inc_by(lines);
            }
        }
    }

    /// Counts finished requests.
    pub(crate) fn count_outcomes(&self, lines: &Lines) {
        for line in &lines.requests {
            self.outcomes.get_or_create(&OutcomeLabels { reason: line.finish_reason.as_str() }).inc();
            self.outcomes_not_learned.inc_by(u64::from(!line.is_learned()));
        }
    }

    /// Counts a stream that ends by an error.
    pub(crate) fn count_stream_error(&self, error: &ServiceError) {
        let code = match error {
            ServiceError::InvalidArgument(_) => "invalid_argument",
            ServiceError::EpochOver { .. } | ServiceError::FailedPrecondition(_) => "failed_precondition",
            ServiceError::ResourceExhausted { .. } => "resource_exhausted",
            ServiceError::Unavailable(_) => "unavailable",
            _ => "internal",
        };
        self.stream_errors.get_or_create(&StreamErrorLabels { code }).inc();
    }

    /// Counts what came of a retraining.
    pub(crate) fn count_retraining(&self, decision: &Decision) {
        let result = match (decision.swapped, decision.candidate.as_str()) {
            (true, _) => "swapped",
            (false, "") => "failed",
            (false, _) => "kept",
        };
        self.retrainings.get_or_create(&RetrainingLabels { result }).inc();
    }

    /// Shows how the event log fares.
    pub(crate) fn set_log_state(&self, state: LogState) {
        self.log_state.set(match state {
            LogState::Ok => 1,
            LogState::Off => 0,
            LogState::Failed => -1,
        });
    }

    /// The page that is scraped, in the format that the client asks for.
    fn page(&self, headers: &HeaderMap) -> Response {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let format = Format::asked_for(accept);
        match format.encode(&self.registry) {
            Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// `/metrics` and `/health`. Each page asks `outstanding` what the workers' requests will need. `/health` answers 200 while serving,
/// and 503 once `stopping`; its text names the state of the event log.
pub(crate) fn router(
    metrics: Arc<Metrics>,
    outstanding: impl Fn() -> Vec<WorkerOutstanding> + Clone + Send + Sync + 'static,
    log_state: watch::Receiver<LogState>,
    stopping: CancellationToken,
) -> Router {
    let page = move |headers: HeaderMap| async move {
        metrics.outstanding.set(outstanding());
        metrics.page(&headers)
    };
    let health = move || async move {
        let log = match *log_state.borrow() {
            LogState::Ok => "ok",
            LogState::Off => "off",
            LogState::Failed => "failed",
        };
        let (code, status) = if stopping.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping")
        } else {
            (StatusCode::OK, "serving")
        };
        (code, axum::Json(serde_json::json!({ "status": status, "event_log": log })))
    };
    Router::new().route("/metrics", get(page)).route("/health", get(health))
}
