//! Each series with its name and its help text.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;

use clap::ValueEnum;
use eoscast_metrics::add;
use eoscast_proto::domain::FinishReason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::buckets;
use super::labels::{BasisLabel, OutstandingLabel, PhaseLabel, ReasonLabel, Refusal, RefusalLabel};

/// Whose names the metrics have that vLLM has as well. The others are always named `eoscast_...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum MetricNames {
    /// eoscast_num_requests_running and so on.
    #[default]
    Eoscast,
    /// vllm:num_requests_running and so on, for dashboards and autoscalers made for vLLM.
    Vllm,
}

/// How series are named and labelled.
#[derive(Debug, Clone)]
pub(crate) struct MetricsSettings {
    /// Label `model_name` of all series of the engine; none if absent.
    pub(crate) model_name: Option<String>,
    /// Whose names.
    pub(crate) names: MetricNames,
    /// Most tokens of a prompt and its reply, which ends the buckets of lengths.
    pub(crate) max_model_len: usize,
    /// What was built.
    pub(crate) commit: &'static str,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { model_name: None, names: MetricNames::default(), max_model_len: 1 << 17, commit: "unknown" }
    }
}

/// All series of the engine.
pub(super) struct Series {
    pub(super) running: Gauge,
    pub(super) waiting: Gauge,
    pub(super) kv_usage: Gauge<f64, AtomicU64>,
    pub(super) preemptions: Counter,
    pub(super) prefix_cache_queries: Counter,
    pub(super) prefix_cache_hits: Counter,
    pub(super) prompt_tokens: Counter,
    pub(super) generation_tokens: Counter,
    pub(super) iteration_tokens: Histogram,
    pub(super) success: Family<ReasonLabel, Counter>,
    pub(super) refused: Family<RefusalLabel, Counter>,
    pub(super) evicted: Counter,
    pub(super) encodings_waiting: Gauge,
    pub(super) encodings_refused: Counter,
    pub(super) request_bytes: Gauge,
    pub(super) unread_bytes: Gauge,
    pub(super) unread_replies: Counter,
    pub(super) request_prompt_tokens: Histogram,
    pub(super) request_generation_tokens: Histogram,
    pub(super) time_to_first_token: Histogram,
    pub(super) inter_token_latency: Histogram,
    pub(super) time_per_output_token: Histogram,
    pub(super) e2e_latency: Histogram,
    pub(super) queue_time: Histogram,
    pub(super) prefill_time: Histogram,
    pub(super) decode_time: Histogram,
    pub(super) inference_time: Histogram,
    pub(super) forecast_load: Gauge<f64, AtomicU64>,
    pub(super) forecast_outstanding: Family<OutstandingLabel, Gauge<f64, AtomicU64>>,
    pub(super) load_report_streams: Gauge,
    pub(super) load_report_streams_refused: Counter,
    pub(super) steps_by_basis: Family<BasisLabel, Counter>,
    pub(super) step_seconds: Family<PhaseLabel, Counter<f64, AtomicU64>>,
    pub(super) predictor_connected: Gauge,
    pub(super) predictor_sequence_number: Gauge,
    pub(super) predictor_acknowledged: Gauge,
    pub(super) predictor_dropped_steps: Counter,
    pub(super) predictor_reconnects: Counter,
}

/// Registers metrics under the names that were chosen.
struct Names<'a> {
    registry: &'a mut Registry,
    chosen: MetricNames,
}

impl Names<'_> {
    /// A metric that vLLM has, too.
    fn shared<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        let prefix = match self.chosen {
            MetricNames::Eoscast => "eoscast_",
            MetricNames::Vllm => "vllm:",
        };
        add(self.registry, format!("{prefix}{name}"), help, metric)
    }

    /// A metric that only we have.
    fn own<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        add(self.registry, format!("eoscast_{name}"), help, metric)
    }
}

impl Series {
    pub(super) fn register(registry: &mut Registry, settings: &MetricsSettings) -> Self {
        let mut labels: Vec<(Cow<'static, str>, Cow<'static, str>)> = Vec::new();
        labels.extend(settings.model_name.clone().map(|name| ("model_name".into(), name.into())));
        if settings.names == MetricNames::Vllm {
            labels.push(("engine".into(), "0".into()));
        }
        let registry = registry.sub_registry_with_labels(labels.into_iter());
        let mut names = Names { registry, chosen: settings.names };
        let seconds = || Histogram::new(buckets::REQUEST);
        let token_seconds = || Histogram::new(buckets::NEXT_TOKEN);
        let tokens = || Histogram::new(buckets::tokens(settings.max_model_len));
        let iteration_tokens = match settings.names {
            MetricNames::Eoscast => "iteration_tokens",
            MetricNames::Vllm => "iteration_tokens_total",
        };
        let series = Self {
            running: names.shared("num_requests_running", "Requests in the batch", Gauge::default()),
            waiting: names.shared("num_requests_waiting", "Requests in the queue", Gauge::default()),
            kv_usage: names.shared("kv_cache_usage_perc", "Fraction of the KV budget in use", Gauge::default()),
            preemptions: names.shared("num_preemptions", "Preemptions", Counter::default()),
            prefix_cache_queries: names.shared(
                "prefix_cache_queries",
                "Tokens in full blocks looked for in the prefix cache on admission",
                Counter::default(),
            ),
            prefix_cache_hits: names.shared(
                "prefix_cache_hits",
                "Tokens found in the prefix cache on admission, and so not computed",
                Counter::default(),
            ),
            prompt_tokens: names.shared(
                "prompt_tokens",
                "Tokens of prompts whose first token was generated",
                Counter::default(),
            ),
            generation_tokens: names.shared("generation_tokens", "Tokens generated", Counter::default()),
            iteration_tokens: names.shared(
                iteration_tokens,
                "Tokens computed in a step",
                Histogram::new(buckets::STEP_TOKENS),
            ),
            success: names.shared("request_success", "Requests that ended, by reason", Family::default()),
            refused: names.own("requests_refused", "Requests refused, by reason", Family::default()),
            evicted: names.own(
                "requests_evicted",
                "Waiting requests whose places went to other clients",
                Counter::default(),
            ),
            encodings_waiting: names.own("encodings_waiting", "Requests that wait to be tokenised", Gauge::default()),
            encodings_refused: names.own(
                "encodings_refused",
                "Requests refused because too many wait to be tokenised",
                Counter::default(),
            ),
            request_bytes: names.own(
                "request_bytes",
                "Bytes of requests that are read or wait to be tokenised",
                Gauge::default(),
            ),
            unread_bytes: names.own(
                "unread_reply_bytes",
                "Bytes of replies that their clients have not read",
                Gauge::default(),
            ),
            unread_replies: names.own(
                "replies_aborted_unread",
                "Replies ended because their clients left too much unread",
                Counter::default(),
            ),
            request_prompt_tokens: names.shared("request_prompt_tokens", "Tokens of a prompt", tokens()),
            request_generation_tokens: names.shared("request_generation_tokens", "Tokens of a reply", tokens()),
            time_to_first_token: names.shared(
                "time_to_first_token_seconds",
                "Submission to first token",
                Histogram::new(buckets::FIRST_TOKEN),
            ),
            inter_token_latency: names.shared("inter_token_latency_seconds", "Token to next token", token_seconds()),
            time_per_output_token: names.shared(
                "request_time_per_output_token_seconds",
                "Token to next token, the mean of a request",
                token_seconds(),
            ),
            e2e_latency: names.shared("e2e_request_latency_seconds", "Submission to end", seconds()),
            queue_time: names.shared("request_queue_time_seconds", "Submission to admission", seconds()),
            prefill_time: names.shared("request_prefill_time_seconds", "Admission to first token", seconds()),
            decode_time: names.shared("request_decode_time_seconds", "First token to last token", seconds()),
            inference_time: names.shared("request_inference_time_seconds", "Admission to last token", seconds()),
            forecast_load: names.own(
                "forecast_load",
                "Expected KV tokens held over the next 256 steps, by running and waiting requests, over the KV budget",
                Gauge::default(),
            ),
            forecast_outstanding: names.own(
                "forecast_outstanding_tokens",
                "Tokens that running and waiting requests will still generate: expected, and not exceeded by 90 %",
                Family::default(),
            ),
            load_report_streams: names.own("load_report_streams", "Open streams of load reports", Gauge::default()),
            load_report_streams_refused: names.own(
                "load_report_streams_refused",
                "Streams of load reports refused or ended because there were too many",
                Counter::default(),
            ),
            steps_by_basis: names.own(
                "steps_by_forecast_basis",
                "Steps scheduled, by the weakest basis of their forecasts",
                Family::default(),
            ),
            step_seconds: names.own("step_seconds", "Time of the engine thread, by phase", Family::default()),
            predictor_connected: names.own(
                "predictor_connected",
                "Whether a stream to the predictor is open",
                Gauge::default(),
            ),
            predictor_sequence_number: names.own(
                "predictor_sequence_number",
                "Newest step told to the predictor",
                Gauge::default(),
            ),
            predictor_acknowledged: names.own(
                "predictor_acknowledged_sequence_number",
                "Newest step the predictor has acknowledged",
                Gauge::default(),
            ),
            predictor_dropped_steps: names.own(
                "predictor_dropped_steps",
                "Steps never told because the predictor was away or slow",
                Counter::default(),
            ),
            predictor_reconnects: names.own(
                "predictor_reconnects",
                "Streams opened after the first",
                Counter::default(),
            ),
        };
        series.register_other_names(&mut names);
        series.show_zeros();
        series
    }

    /// Names by which some know a series that has another one now.
    fn register_other_names(&self, names: &mut Names<'_>) {
        let replies = self.request_generation_tokens.clone();
        match names.chosen {
            MetricNames::Eoscast => {
                names.own("request_finished", "request_success by its name up to 0.1.0", self.success.clone());
            }
            // Those of dashboards for other versions. To the engine, each choice of several is a request of its own.
            MetricNames::Vllm => {
                names.shared("request_max_num_generation_tokens", "Tokens of the longest reply to a request", replies);
                names.shared("gpu_cache_usage_perc", "kv_cache_usage_perc up to vLLM 0.9", self.kv_usage.clone());
                let token_latency = self.inter_token_latency.clone();
                names.shared("time_per_output_token_seconds", "inter_token_latency up to vLLM 0.10", token_latency);
            }
        }
    }

    /// A counter that is there from the start shows its first increase.
    fn show_zeros(&self) {
        for reason in [FinishReason::Stop, FinishReason::Length, FinishReason::Abort, FinishReason::Error] {
            drop(self.success.get_or_create(&ReasonLabel { finished_reason: reason.as_str() }));
        }
        for stat in ["mean", "p90"] {
            drop(self.forecast_outstanding.get_or_create(&OutstandingLabel { stat }));
        }
        for reason in Refusal::ALL {
            drop(self.refused.get_or_create(&RefusalLabel { reason }));
        }
    }
}
