//! What is on the page.

use std::time::Duration;

use eoscast_metrics::format::Format;
use eoscast_proto::domain::{EngineLoad, FinishReason, WorkerRun};

use super::{FinishedRequest, MetricNames, Metrics, MetricsSettings};
use crate::link::PredictorLink;

/// The series that vLLM's dashboard asks for (examples/observability/prometheus_grafana/grafana.json), in its order, and those
/// that it asked for in earlier versions.
const DASHBOARD: [&str; 15] = [
    "e2e_request_latency_seconds_bucket",
    "prompt_tokens_total",
    "generation_tokens_total",
    "inter_token_latency_seconds_bucket",
    "num_requests_running",
    "num_requests_waiting",
    "time_to_first_token_seconds_bucket",
    "kv_cache_usage_perc",
    "request_prompt_tokens_bucket",
    "request_generation_tokens_bucket",
    "request_success_total",
    "request_queue_time_seconds_sum",
    "request_prefill_time_seconds_sum",
    "request_decode_time_seconds_sum",
    "request_max_num_generation_tokens_sum",
];
const EARLIER_DASHBOARDS: [&str; 2] = ["time_per_output_token_seconds_bucket", "gpu_cache_usage_perc"];

fn page(names: MetricNames) -> String {
    let settings = MetricsSettings { model_name: Some("small".into()), names, max_model_len: 100, commit: "1234abcd" };
    let metrics = Metrics::with_settings(&settings);
    metrics.on_first_token(5, Duration::from_millis(30));
    metrics.on_next_token(Duration::from_millis(20));
    metrics.on_finished(&FinishedRequest {
        reason: FinishReason::Stop,
        prompt_tokens: 5,
        generated_tokens: 2,
        admitted: Some(Duration::from_millis(10)),
        first_token: Some(Duration::from_millis(30)),
        last_token: Some(Duration::from_millis(50)),
        total: Duration::from_millis(51),
    });
    metrics.on_load(EngineLoad { kv_blocks_used: 1, kv_blocks_total: 4, ..Default::default() });
    metrics.encode(&PredictorLink::new(None, WorkerRun::for_test("w")), Format::Text).unwrap()
}

/// The value of a series of the model.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find(|line| line.starts_with(series))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn vllms_dashboards_find_all_their_series_under_vllms_names() {
    let page = page(MetricNames::Vllm);
    for name in DASHBOARD.iter().chain(&EARLIER_DASHBOARDS) {
        let series = format!("vllm:{name}{{model_name=\"small\",engine=\"0\"");
        assert!(value(&page, &series).is_some(), "{series} is not in\n{page}");
    }
    assert_eq!(value(&page, "eoscast_predictor_connected{model_name=\"small\""), Some(0.0), "ours keep their names");
    assert!(!page.contains("eoscast_num_requests_running"));
}

#[test]
fn the_same_series_are_ours_without_the_option() {
    let page = page(MetricNames::Eoscast);
    for name in DASHBOARD.iter().filter(|name| !name.contains("max_num")) {
        let series = format!("eoscast_{name}{{model_name=\"small\"");
        assert!(value(&page, &series).is_some(), "{series} is not in\n{page}");
    }
    assert!(!page.contains("vllm:"));
    for reason in ["stop", "length", "abort", "error"] {
        let series = format!("eoscast_request_success_total{{model_name=\"small\",finished_reason=\"{reason}\"}}");
        assert_eq!(value(&page, &series), Some(f64::from(reason == "stop")), "{reason}");
        assert!(page.contains(&series.replace("success", "finished")), "its older name");
    }
}

#[test]
fn times_and_lengths_are_observed_where_vllm_has_its_buckets() {
    let page = page(MetricNames::Eoscast);
    for (series, expected) in [
        ("eoscast_prompt_tokens_total{", 5.0),
        ("eoscast_generation_tokens_total{", 2.0),
        ("eoscast_kv_cache_usage_perc{", 0.25),
        ("eoscast_request_queue_time_seconds_sum{", 0.01),
        ("eoscast_request_prefill_time_seconds_sum{", 0.02),
        ("eoscast_request_decode_time_seconds_sum{", 0.02),
        ("eoscast_request_inference_time_seconds_sum{", 0.04),
        ("eoscast_request_time_per_output_token_seconds_sum{", 0.02),
        ("eoscast_e2e_request_latency_seconds_sum{", 0.051),
        ("eoscast_request_prompt_tokens_bucket{model_name=\"small\",le=\"2.0\"}", 0.0),
        ("eoscast_request_prompt_tokens_bucket{model_name=\"small\",le=\"5.0\"}", 1.0),
        ("eoscast_time_to_first_token_seconds_bucket{model_name=\"small\",le=\"0.02\"}", 0.0),
        ("eoscast_time_to_first_token_seconds_bucket{model_name=\"small\",le=\"0.04\"}", 1.0),
        ("eoscast_inter_token_latency_seconds_bucket{model_name=\"small\",le=\"0.025\"}", 1.0),
    ] {
        assert_eq!(value(&page, series), Some(expected), "{series} in\n{page}");
    }
    assert!(
        page.contains("le=\"100.0\"")
            && !page.contains("request_prompt_tokens_bucket{model_name=\"small\",le=\"200.0\"}")
    );
}

#[test]
fn the_page_tells_what_was_built_and_what_the_process_uses() {
    let page = page(MetricNames::Eoscast);
    let build = format!("eoscast_build_info{{version=\"{}\",commit=\"1234abcd\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&build), "{page}");
    assert!(page.contains("\nprocess_resident_memory_bytes ") || !cfg!(target_os = "linux"), "{page}");
}
