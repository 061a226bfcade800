//! Prometheus metrics, and the page that serves them.

mod accuracy;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use eoscast_proto::domain::StepBatch;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::pipeline::log_state::LogState;
use crate::retraining::decision::Decision;
use crate::tracker::Tally;
use accuracy::AccuracyGauges;
use eoscast_log::record::Lines;

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
    log_state: Gauge,
    /// Requests followed.
    pub(crate) live_requests: Gauge,
    /// Streams open.
    pub(crate) streams: Gauge,
    outcomes: Family<OutcomeLabels, Counter>,
    irregularities: Family<IrregularityLabels, Counter>,
    retrainings: Family<RetrainingLabels, Counter>,
    /// How good forecasts were.
    pub(crate) accuracy: AccuracyGauges,
    /// From receiving a message to its estimates.
    pub(crate) estimate_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("eoscast_predictor"),
            messages: Counter::default(),
            events: Counter::default(),
            estimates: Counter::default(),
            log_lines: Counter::default(),
            log_bytes: Counter::default(),
            log_state: Gauge::default(),
            live_requests: Gauge::default(),
            streams: Gauge::default(),
            outcomes: Family::default(),
            irregularities: Family::default(),
            retrainings: Family::default(),
            accuracy: AccuracyGauges::default(),
            // 10 us to 0.3 s.
            estimate_seconds: Histogram::new(exponential_buckets(1e-5, 2.0, 16)),
        };
        let registry = &mut metrics.registry;
        registry.register("messages", "Messages received from workers", metrics.messages.clone());
        registry.register("events", "Step events received from workers", metrics.events.clone());
        registry.register("estimates", "Estimates sent to workers", metrics.estimates.clone());
        registry.register("log_lines", "Step lines written to the event log", metrics.log_lines.clone());
        registry.register("log_bytes", "Bytes written to the event log", metrics.log_bytes.clone());
        registry.register("log_state", "Event log: 1 written, 0 off, -1 failed", metrics.log_state.clone());
        registry.register("live_requests", "Requests being followed", metrics.live_requests.clone());
        registry.register("streams", "Open streams of workers", metrics.streams.clone());
        registry.register("outcomes", "Finished requests by reason", metrics.outcomes.clone());
        registry.register(
            "irregularities",
            "Tolerated irregularities by kind: what was seen before, is missing, or is not known",
            metrics.irregularities.clone(),
        );
        registry.register(
            "estimate_seconds",
            "Time from receiving a message to handing out its estimates",
            metrics.estimate_seconds.clone(),
        );
        registry.register(
            "retrainings",
            "Retrainings by result: swapped in, kept what served, or failed",
            metrics.retrainings.clone(),
        );
        registry.register_collector(Box::new(metrics.accuracy.clone()));
        metrics
    }
}

impl Metrics {
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

    /// Counts finished requests.
    pub(crate) fn count_outcomes(&self, lines: &Lines) {
        for line in &lines.requests {
            self.outcomes.get_or_create(&OutcomeLabels { reason: line.finish_reason.as_str() }).inc();
        }
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

    fn render(&self) -> String {
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Serves `/metrics` and `/health` on `listener` until `shutdown`. `/health` answers 200 while serving; its text names the
/// state of the event log.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    log_state: watch::Receiver<LogState>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let page = move || async move {
        ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.render())
    };
    let health = move || async move {
        let log = match *log_state.borrow() {
            LogState::Ok => "ok",
            LogState::Off => "off",
            LogState::Failed => "failed",
        };
        (StatusCode::OK, axum::Json(serde_json::json!({ "status": "serving", "event_log": log })))
    };
    let router = Router::new().route("/metrics", get(page)).route("/health", get(health));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}
