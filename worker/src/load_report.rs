//! What balancers are told of the load, in the terms of ORCA.
//!
//! Envoy's client-side weighted round robin, and gRPC's, weigh a worker by
//!
//! ```text
//! rps_fractional / (application_utilization + penalty * eps / rps_fractional)
//! ```
//!
//! which is the rate that it could take, if all requests were alike. Here they are not. By measured rates, a worker that ends
//! twenty short replies a second gets twenty times the requests of one that ends one long reply a second, though both are as
//! full; and the report of an idle worker, which has a rate of 0, is ignored. So all workers that serve report one rate,
//! [`SERVING_RPS`]: the weights are then as 1 / forecast load. `eps` is that rate times the share of requests that fail, so that
//! the penalty is for the share. The measured rate is among the named metrics.

use axum::http::{HeaderMap, HeaderValue};
use eoscast_proto::domain::{EngineLoad, LoadReport, LoadReportFormat};
use eoscast_sched::ForecastLoad;

use crate::engine::EngineHandle;
use crate::metrics::EndRates;

/// The rate that every worker reports while it serves. Envoy rounds weights down to whole numbers, so that a load of 10 still
/// has two digits, and an idle worker the weight 100,000.
const SERVING_RPS: f64 = 1_000.0;

/// The rate of a worker that stops: its weight is less than one, and so the smallest there is, but Envoy ignores a rate of 0.
const STOPPING_RPS: f64 = 0.001;

/// The least load that is reported, since a load of 0 is ignored. It is what one request of 328 tokens is to the default KV
/// budget. Smaller, a worker that is idle would get all requests until the next report.
const LEAST_UTILIZATION: f64 = 0.01;

/// What a report is made from.
#[derive(Debug, Clone, Copy, Default)]
struct Readings {
    is_stopping: bool,
    load: EngineLoad,
    forecast: ForecastLoad,
    ends: EndRates,
}

/// The engine's load now.
pub(crate) fn of(engine: &EngineHandle) -> LoadReport {
    let metrics = engine.metrics();
    let (is_stopping, (load, _)) = (engine.is_stopping(), metrics.load());
    Readings { is_stopping, load, forecast: metrics.forecast_load(), ends: metrics.end_rates() }.report()
}

/// In which format a request wants the load with its answer, if at all.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<LoadReportFormat> {
    LoadReportFormat::named(headers.get(LoadReportFormat::REQUEST_HEADER)?.to_str().ok()?)
}

/// Writes the load into the headers of an answer.
pub(crate) fn write(format: LoadReportFormat, engine: &EngineHandle, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(of(engine).header(format)) {
        headers.insert(LoadReportFormat::RESPONSE_HEADER, value);
    }
}

impl Readings {
    fn report(self) -> LoadReport {
        let Self { is_stopping, load, forecast, ends } = self;
        let rps_fractional = if is_stopping { STOPPING_RPS } else { SERVING_RPS };
        let failing = if ends.ended > 0.0 { ends.failed / ends.ended } else { 0.0 };
        LoadReport {
            application_utilization: forecast.mean.max(LEAST_UTILIZATION),
            rps_fractional,
            eps: rps_fractional * failing,
            named_metrics: vec![
                ("forecast_outstanding_tokens_mean", forecast.outstanding_mean),
                ("forecast_outstanding_tokens_p90", forecast.outstanding_p90),
                ("kv_cache_usage_perc", load.kv_usage()),
                ("num_requests_waiting", load.waiting_requests.into()),
                ("requests_per_second", ends.ended),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Envoy's weight (`orca_weight_manager.cc`), with a penalty of 1.
    fn weight(readings: Readings) -> u32 {
        let LoadReport { application_utilization, rps_fractional, eps, .. } = readings.report();
        assert!(rps_fractional > 0.0 && application_utilization > 0.0, "Envoy ignores other reports");
        // It has no weight below 1.
        ((rps_fractional / (application_utilization + eps / rps_fractional)) as u32).max(1)
    }

    fn loaded(load: f64, ended_per_second: f64) -> Readings {
        let forecast = ForecastLoad { mean: load, ..ForecastLoad::default() };
        Readings { forecast, ends: EndRates { ended: ended_per_second, failed: 0.0 }, ..Readings::default() }
    }

    #[test]
    fn requests_are_split_as_one_over_the_forecast_load_however_many_ended() {
        assert_eq!(weight(loaded(0.25, 1.0)), 4 * weight(loaded(1.0, 1.0)));
        assert_eq!(weight(loaded(0.25, 1.0)), 4 * weight(loaded(1.0, 50.0)));
        assert_eq!(weight(loaded(20.0, 0.0)), 50, "a queue of twenty times the budget");
    }

    #[test]
    fn an_idle_worker_gets_most_and_a_hundred_times_as_much_as_a_full_one() {
        assert_eq!(weight(loaded(0.0, 0.0)), 100 * weight(loaded(1.0, 5.0)));
        assert_eq!(weight(loaded(0.0, 0.0)), weight(loaded(0.005, 0.1)), "next to nothing is nothing");
    }

    #[test]
    fn a_worker_that_fails_its_requests_does_not_attract_more_by_being_idle() {
        let failing = Readings { ends: EndRates { ended: 40.0, failed: 40.0 }, ..loaded(0.0, 0.0) };
        assert!(weight(failing) < weight(loaded(1.0, 5.0)));
    }

    #[test]
    fn a_worker_that_stops_has_the_smallest_weight_there_is() {
        let stopping = Readings { is_stopping: true, ..loaded(0.0, 0.0) };
        assert_eq!(weight(stopping), 1);
        assert_eq!(weight(loaded(1_000.0, 0.0)), 1);
    }

    #[test]
    fn named_metrics_tell_what_was_measured() {
        let load = EngineLoad { waiting_requests: 3, kv_blocks_used: 1, kv_blocks_total: 4, ..EngineLoad::default() };
        let forecast = ForecastLoad { outstanding_mean: 700.0, outstanding_p90: 900.0, ..ForecastLoad::default() };
        let report = Readings { load, forecast, ..loaded(0.0, 2.5) }.report();
        let expected = [
            ("forecast_outstanding_tokens_mean", 700.0),
            ("forecast_outstanding_tokens_p90", 900.0),
            ("kv_cache_usage_perc", 0.25),
            ("num_requests_waiting", 3.0),
            ("requests_per_second", 2.5),
        ];
        assert_eq!(report.named_metrics, expected);
    }
}
