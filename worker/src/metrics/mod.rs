//! Counters, gauges and histograms under vLLM's names. No request ids as labels.
//!
//! # Layout
//! - here: what is counted when
//! - `series`: each series with its name and help text; `buckets`: of the histograms; `labels`: what tells series apart
//! - `finished`: what is known of a request that ended
//! - `throughput`: tokens a second; `recent`: requests that ended lately; `clock`: where the time of a step goes

mod buckets;
mod clock;
mod finished;
mod labels;
mod recent;
mod series;
mod throughput;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eoscast_metrics::format::Format;
use eoscast_proto::domain::{EngineLoad, FinishReason};
use eoscast_proto::transport::Counts;
use eoscast_sched::ForecastLoad;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::link::ForecastBasis;
use crate::link::PredictorLink;

pub(crate) use clock::PhaseClock;
pub(crate) use finished::FinishedRequest;
pub use labels::Phase;
pub(crate) use labels::Refusal;
use labels::{BasisLabel, OutstandingLabel, PhaseLabel, ReasonLabel, RefusalLabel};
pub(crate) use recent::EndRates;
use recent::RecentEnds;
use series::Series;
pub(crate) use series::{MetricNames, MetricsSettings};
use throughput::Throughput;

/// What the worker counts.
pub struct Metrics {
    registry: Registry,
    series: Series,
    now: Mutex<Now>,
}

/// What gauges cannot hold.
struct Now {
    load: EngineLoad,
    forecast_load: ForecastLoad,
    basis: Option<ForecastBasis>,
    throughput: Throughput,
    ends: RecentEnds,
}

impl Now {
    fn new() -> Self {
        Self {
            load: EngineLoad::default(),
            forecast_load: ForecastLoad::default(),
            basis: None,
            throughput: Throughput::default(),
            ends: RecentEnds::new(Instant::now()),
        }
    }
}

/// Tokens since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenTotals {
    /// Of prompts whose first token was drawn.
    pub(crate) prompt: u64,
    /// Generated.
    pub(crate) generated: u64,
    /// Looked for in the prefix cache.
    pub(crate) cache_queries: u64,
    /// Found there.
    pub(crate) cache_hits: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero, and without the name of a model.
    pub fn new() -> Self {
        Self::with_settings(&MetricsSettings::default())
    }

    /// All at zero.
    pub(crate) fn with_settings(settings: &MetricsSettings) -> Self {
        let mut registry = eoscast_metrics::registry("eoscast", env!("CARGO_PKG_VERSION"), settings.commit);
        let series = Series::register(&mut registry, settings);
        Self { registry, series, now: Mutex::new(Now::new()) }
    }

    /// Shows the connections of listeners, too, each under its name.
    pub(crate) fn show_connections(&mut self, listeners: Vec<(&'static str, Arc<Counts>)>) {
        eoscast_metrics::connections::register(&mut self.registry, "eoscast", listeners);
    }

    /// The page that is scraped; reads the link's state on the way.
    ///
    /// # Errors
    /// Never in practice: writing to a string fails only if a label cannot be formatted.
    pub fn encode(&self, link: &PredictorLink, format: Format) -> Result<String, std::fmt::Error> {
        let (status, series) = (link.status(), &self.series);
        series.predictor_connected.set(i64::from(status.connected));
        series.predictor_sequence_number.set(status.sequence_number as i64);
        series.predictor_acknowledged.set(status.acknowledged as i64);
        raise(&series.predictor_dropped_steps, status.dropped_steps);
        raise(&series.predictor_reconnects, status.reconnects);
        format.encode(&self.registry)
    }

    /// A step of so many tokens was scheduled; `basis` is the weakest of its requests, `None` if it has none.
    pub(crate) fn on_scheduled(&self, tokens: u32, basis: Option<ForecastBasis>) {
        if tokens > 0 {
            self.series.iteration_tokens.observe(tokens.into());
        }
        if let Some(basis) = basis {
            self.series.steps_by_basis.get_or_create(&BasisLabel { basis }).inc();
            self.lock().basis = Some(basis);
        }
    }

    /// A phase of a step took so long.
    pub(crate) fn on_phase(&self, phase: Phase, took: Duration) {
        self.series.step_seconds.get_or_create(&PhaseLabel { phase }).inc_by(took.as_secs_f64());
    }

    /// Seconds that a phase has taken since the start.
    pub fn phase_seconds(&self, phase: Phase) -> f64 {
        self.series.step_seconds.get_or_create(&PhaseLabel { phase }).get()
    }

    /// The first token of a reply was generated, so long after the request's submission.
    pub(crate) fn on_first_token(&self, prompt_tokens: u32, since_submission: Duration) {
        self.series.generation_tokens.inc();
        self.series.prompt_tokens.inc_by(prompt_tokens.into());
        self.series.time_to_first_token.observe(since_submission.as_secs_f64());
    }

    /// A further token was generated, so long after the one before.
    pub(crate) fn on_next_token(&self, since_last: Duration) {
        self.series.generation_tokens.inc();
        self.series.inter_token_latency.observe(since_last.as_secs_f64());
    }

    /// A request ended.
    pub(crate) fn on_finished(&self, request: &FinishedRequest) {
        self.lock().ends.add(Instant::now(), request.reason == FinishReason::Error);
        let series = &self.series;
        series.success.get_or_create(&ReasonLabel { finished_reason: request.reason.as_str() }).inc();
        series.request_prompt_tokens.observe(request.prompt_tokens.into());
        series.request_generation_tokens.observe(request.generated_tokens.into());
        series.e2e_latency.observe(request.total.as_secs_f64());
        series.queue_time.observe(request.queue_time().as_secs_f64());
        for (histogram, time) in [
            (&series.prefill_time, request.prefill_time()),
            (&series.decode_time, request.decode_time()),
            (&series.inference_time, request.inference_time()),
            (&series.time_per_output_token, request.time_per_output_token()),
        ] {
            if let Some(time) = time {
                histogram.observe(time.as_secs_f64());
            }
        }
    }

    /// A request was refused.
    pub(crate) fn on_refused(&self, reason: Refusal) {
        self.series.refused.get_or_create(&RefusalLabel { reason }).inc();
        if reason == Refusal::Internal {
            self.lock().ends.add(Instant::now(), true);
        }
    }

    /// So many waiting requests lost their places to other clients.
    pub(crate) fn on_evicted(&self, requests: usize) {
        self.series.evicted.inc_by(requests as u64);
    }

    /// A reply was ended because too much of it was unread.
    pub(crate) fn on_unread_reply(&self) {
        self.series.unread_replies.inc();
    }

    /// Requests that wait to be encoded.
    pub(crate) fn encodings_waiting(&self) -> Gauge {
        self.series.encodings_waiting.clone()
    }

    /// Requests that found no place to wait to be encoded.
    pub(crate) fn encodings_refused(&self) -> Counter {
        self.series.encodings_refused.clone()
    }

    /// Bytes of requests that are read or wait to be encoded.
    pub(crate) fn request_bytes(&self) -> Gauge {
        self.series.request_bytes.clone()
    }

    /// Bytes of answers that clients have not taken.
    pub(crate) fn unread_bytes(&self) -> Gauge {
        self.series.unread_bytes.clone()
    }

    /// The load after a step.
    pub(crate) fn on_load(&self, load: EngineLoad) {
        self.series.running.set(load.running_requests.into());
        self.series.waiting.set(load.waiting_requests.into());
        self.series.kv_usage.set(load.kv_usage());
        raise(&self.series.preemptions, load.preemptions);
        let mut now = self.lock();
        now.load = load;
        now.throughput.sample(Instant::now(), load.generated_tokens);
    }

    /// What the live requests will need.
    pub(crate) fn on_forecast_load(&self, load: ForecastLoad) {
        self.series.forecast_load.set(load.mean);
        for (stat, tokens) in [("mean", load.outstanding_mean), ("p90", load.outstanding_p90)] {
            self.series.forecast_outstanding.get_or_create(&OutstandingLabel { stat }).set(tokens);
        }
        self.lock().forecast_load = load;
    }

    /// Tokens looked for and found in the prefix cache, since the start.
    pub(crate) fn on_prefix_cache(&self, queries: u64, hits: u64) {
        raise(&self.series.prefix_cache_queries, queries);
        raise(&self.series.prefix_cache_hits, hits);
    }

    /// Tokens generated since the start.
    pub fn generated_tokens(&self) -> u64 {
        self.series.generation_tokens.get()
    }

    /// Tokens since the start.
    pub(crate) fn totals(&self) -> TokenTotals {
        TokenTotals {
            prompt: self.series.prompt_tokens.get(),
            generated: self.series.generation_tokens.get(),
            cache_queries: self.series.prefix_cache_queries.get(),
            cache_hits: self.series.prefix_cache_hits.get(),
        }
    }

    /// The load after the last step, and tokens a second over the last seconds.
    pub fn load(&self) -> (EngineLoad, f32) {
        let now = self.lock();
        (now.load, now.throughput.per_second(Instant::now(), now.load.generated_tokens))
    }

    /// What the live requests will need, at most a tenth of a second and a step ago.
    pub fn forecast_load(&self) -> ForecastLoad {
        self.lock().forecast_load
    }

    /// Requests that ended in the last ten seconds.
    pub(crate) fn end_rates(&self) -> EndRates {
        self.lock().ends.per_second(Instant::now())
    }

    /// Streams of load reports that are open.
    pub(crate) fn load_report_streams(&self) -> Gauge {
        self.series.load_report_streams.clone()
    }

    /// Streams of load reports for which there was no place.
    pub(crate) fn load_report_streams_refused(&self) -> Counter {
        self.series.load_report_streams_refused.clone()
    }

    /// The weakest basis among the requests of the last step that had any.
    pub fn basis(&self) -> Option<ForecastBasis> {
        self.lock().basis
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // A panic elsewhere leaves numbers that are at worst out of date.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}
