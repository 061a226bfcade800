//! Counters and gauges, under vLLM's names after our prefix. No request ids as labels.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use eoscast_proto::domain::{EngineLoad, FinishReason};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::link::ForecastBasis;
use crate::link::PredictorLink;

/// Window over which throughput is averaged.
const THROUGHPUT_WINDOW: Duration = Duration::from_secs(5);
/// Spacing of the samples within it.
const THROUGHPUT_SAMPLE: Duration = Duration::from_millis(250);

/// What the worker counts.
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    kv_usage: Gauge<f64, AtomicU64>,
    preemptions: Counter,
    prefix_cache_queries: Counter,
    prefix_cache_hits: Counter,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    finished: Family<Finished, Counter>,
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    e2e_latency: Histogram,
    steps_by_basis: Family<Basis, Counter>,
    step_seconds: Family<InPhase, Counter<f64, AtomicU64>>,
    predictor_connected: Gauge,
    predictor_sequence_number: Gauge,
    predictor_acknowledged: Gauge,
    predictor_dropped_steps: Counter,
    predictor_reconnects: Counter,
    now: Mutex<Now>,
}

/// What gauges cannot hold.
#[derive(Default)]
struct Now {
    load: EngineLoad,
    basis: Option<ForecastBasis>,
    /// When how many tokens had been generated, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finished_reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Basis {
    basis: ForecastBasis,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: Phase,
}

/// Parts of an engine step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Commands, deadlines, and the plan.
    Schedule,
    /// The forward pass.
    Forward,
    /// Sampling, text, replies.
    Sample,
    /// Telling predictor and metrics.
    Events,
}

impl Phase {
    /// All of them, in their order within a step.
    pub const ALL: [Self; 4] = [Self::Schedule, Self::Forward, Self::Sample, Self::Events];

    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Forward => "forward",
            Self::Sample => "sample",
            Self::Events => "events",
        }
    }
}

/// Measures the phases of a step, one after the other.
pub(crate) struct PhaseClock(Instant);

impl PhaseClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Counts the time since the last call for `phase`.
    pub(crate) fn end(&mut self, phase: Phase, metrics: &Metrics) {
        let now = Instant::now();
        metrics.on_phase(phase, now - self.0);
        self.0 = now;
    }
}

impl EncodeLabelValue for Phase {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for ForecastBasis {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Estimate => "estimate",
            Self::Prior => "prior",
            Self::WorstCase => "worst_case",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        // From 1 ms to about 2 minutes, and from 0.5 ms to about 8 s.
        let seconds = || Histogram::new(exponential_buckets(0.001, 1.6, 26));
        let token_seconds = || Histogram::new(exponential_buckets(0.0005, 1.5, 25));
        let mut metrics = Self {
            registry: Registry::with_prefix("eoscast"),
            running: Gauge::default(),
            waiting: Gauge::default(),
            kv_usage: Gauge::default(),
            preemptions: Counter::default(),
            prefix_cache_queries: Counter::default(),
            prefix_cache_hits: Counter::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            finished: Family::default(),
            time_to_first_token: seconds(),
            inter_token_latency: token_seconds(),
            e2e_latency: seconds(),
            steps_by_basis: Family::default(),
            step_seconds: Family::default(),
            predictor_connected: Gauge::default(),
            predictor_sequence_number: Gauge::default(),
            predictor_acknowledged: Gauge::default(),
            predictor_dropped_steps: Counter::default(),
            predictor_reconnects: Counter::default(),
            now: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("num_requests_running", "Requests in the batch", self.running.clone());
        registry.register("num_requests_waiting", "Requests in the queue", self.waiting.clone());
        registry.register("kv_cache_usage_perc", "Fraction of the KV budget in use", self.kv_usage.clone());
        registry.register("num_preemptions", "Preemptions since the start", self.preemptions.clone());
        registry.register(
            "prefix_cache_queries",
            "Tokens in full blocks looked for in the prefix cache on admission",
            self.prefix_cache_queries.clone(),
        );
        registry.register(
            "prefix_cache_hits",
            "Tokens found in the prefix cache on admission, and so not computed",
            self.prefix_cache_hits.clone(),
        );
        registry.register("prompt_tokens", "Prompt tokens of finished requests", self.prompt_tokens.clone());
        registry.register("generation_tokens", "Tokens generated", self.generation_tokens.clone());
        registry.register("request_finished", "Requests finished, by reason", self.finished.clone());
        registry.register("time_to_first_token_seconds", "Submission to first token", self.time_to_first_token.clone());
        registry.register("inter_token_latency_seconds", "Token to next token", self.inter_token_latency.clone());
        registry.register("e2e_request_latency_seconds", "Submission to end", self.e2e_latency.clone());
        registry.register(
            "steps_by_forecast_basis",
            "Steps scheduled, by the weakest basis of their forecasts",
            self.steps_by_basis.clone(),
        );
        registry.register("step_seconds", "Time of the engine thread, by phase", self.step_seconds.clone());
        registry.register(
            "predictor_connected",
            "Whether a stream to the predictor is open",
            self.predictor_connected.clone(),
        );
        registry.register(
            "predictor_sequence_number",
            "Newest step told to the predictor",
            self.predictor_sequence_number.clone(),
        );
        registry.register(
            "predictor_acknowledged_sequence_number",
            "Newest step the predictor has acknowledged",
            self.predictor_acknowledged.clone(),
        );
        registry.register(
            "predictor_dropped_steps",
            "Steps never told because the predictor was away or slow",
            self.predictor_dropped_steps.clone(),
        );
        registry.register("predictor_reconnects", "Streams opened after the first", self.predictor_reconnects.clone());
    }

    /// Prometheus text format; reads the link's state on the way.
    ///
    /// # Errors
    /// Never in practice: writing to a string fails only if a label cannot be formatted.
    pub fn encode(&self, link: &PredictorLink) -> Result<String, std::fmt::Error> {
        let status = link.status();
        self.predictor_connected.set(i64::from(status.connected));
        self.predictor_sequence_number.set(status.sequence_number as i64);
        self.predictor_acknowledged.set(status.acknowledged as i64);
        raise(&self.predictor_dropped_steps, status.dropped_steps);
        raise(&self.predictor_reconnects, status.reconnects);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A step was scheduled; `basis` is the weakest of its requests, `None` if it has none.
    pub fn on_scheduled(&self, basis: Option<ForecastBasis>) {
        if let Some(basis) = basis {
            self.steps_by_basis.get_or_create(&Basis { basis }).inc();
            self.lock().basis = Some(basis);
        }
    }

    /// A phase of a step took so long.
    pub fn on_phase(&self, phase: Phase, took: Duration) {
        self.step_seconds.get_or_create(&InPhase { phase }).inc_by(took.as_secs_f64());
    }

    /// Seconds that a phase has taken since the start.
    pub fn phase_seconds(&self, phase: Phase) -> f64 {
        self.step_seconds.get_or_create(&InPhase { phase }).get()
    }

    /// A token was generated, so long after the one before.
    pub fn on_token(&self, since_last: Option<Duration>) {
        self.generation_tokens.inc();
        if let Some(gap) = since_last {
            self.inter_token_latency.observe(gap.as_secs_f64());
        }
    }

    /// A request ended; times in seconds from its submission.
    pub fn on_finished(&self, reason: FinishReason, prompt_tokens: usize, first_token: Option<f64>, total: f64) {
        self.finished.get_or_create(&Finished { finished_reason: reason.as_str() }).inc();
        self.prompt_tokens.inc_by(prompt_tokens as u64);
        if let Some(first_token) = first_token {
            self.time_to_first_token.observe(first_token);
        }
        self.e2e_latency.observe(total);
    }

    /// The load after a step.
    pub fn on_load(&self, load: EngineLoad) {
        self.running.set(load.running_requests.into());
        self.waiting.set(load.waiting_requests.into());
        self.kv_usage.set(f64::from(load.kv_blocks_used) / f64::from(load.kv_blocks_total.max(1)));
        raise(&self.preemptions, load.preemptions);
        let now = Instant::now();
        let mut state = self.lock();
        state.load = load;
        if state.samples.back().is_none_or(|(at, _)| now - *at >= THROUGHPUT_SAMPLE) {
            state.samples.push_back((now, load.generated_tokens));
            while state.samples.front().is_some_and(|(at, _)| now - *at > THROUGHPUT_WINDOW) {
                state.samples.pop_front();
            }
        }
    }

    /// Tokens looked for and found in the prefix cache, since the start.
    pub fn on_prefix_cache(&self, queries: u64, hits: u64) {
        raise(&self.prefix_cache_queries, queries);
        raise(&self.prefix_cache_hits, hits);
    }

    /// Tokens generated since the start.
    pub fn generated_tokens(&self) -> u64 {
        self.generation_tokens.get()
    }

    /// The load after the last step, and tokens a second over the last seconds.
    pub fn load(&self) -> (EngineLoad, f32) {
        let state = self.lock();
        let now = Instant::now();
        let oldest = state.samples.iter().find(|(at, _)| now - *at <= THROUGHPUT_WINDOW);
        let rate = oldest.map_or(0.0, |(at, tokens)| {
            let seconds = (now - *at).as_secs_f32().max(THROUGHPUT_SAMPLE.as_secs_f32());
            state.load.generated_tokens.saturating_sub(*tokens) as f32 / seconds
        });
        (state.load, rate)
    }

    /// The weakest basis among the requests of the last step that had any.
    pub fn basis(&self) -> Option<ForecastBasis> {
        self.lock().basis
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        // A panic elsewhere leaves numbers that are at worst out of date.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
