//! One line of log for each request that ended.

use std::time::Duration;

use eoscast_proto::domain::{LengthEstimate, RequestId};
use eoscast_proto::status::ServiceError;
use tracing::info;

use super::prepare::PreparedRequest;
use crate::metrics::FinishedRequest;

/// What became of a request, with the forecast that was made on its arrival.
pub(crate) struct FinishLine {
    request_id: RequestId,
    client_request_id: Option<String>,
    /// Median of the length in tokens.
    forecast_tokens: Option<u64>,
    error: Option<String>,
    pub(crate) finished: FinishedRequest,
}

impl FinishLine {
    pub(crate) fn new(
        request: &PreparedRequest,
        finished: FinishedRequest,
        forecast: Option<&LengthEstimate>,
        error: Option<&ServiceError>,
    ) -> Self {
        Self {
            request_id: request.request_id.clone(),
            client_request_id: request.client_request_id.clone(),
            // Lengths are far below 2^53.
            forecast_tokens: forecast.map(|estimate| estimate.forecast.remaining.median().round() as u64),
            error: error.map(ToString::to_string),
            finished,
        }
    }

    /// Writes the line. The request was one to `model`.
    pub(crate) fn log(&self, model: &str) {
        let finished = &self.finished;
        info!(
            request_id = %self.request_id,
            client_request_id = self.client_request_id.as_deref(),
            model,
            reason = finished.reason.as_str(),
            prompt_tokens = finished.prompt_tokens,
            generated_tokens = finished.generated_tokens,
            forecast_tokens = self.forecast_tokens,
            queue_ms = milliseconds(finished.queue_time()),
            first_token_ms = finished.first_token.map(milliseconds),
            total_ms = milliseconds(finished.total),
            error = self.error.as_deref().map(tracing::field::display),
            "request finished"
        );
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use eoscast_proto::domain::{FinishReason, Forecast, ModelForecast, RequestId, SamplingParams};
    use serde_json::{Value, json};

    use super::*;
    use crate::bounds::ClientKey;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn fields_of_the_line(client_request_id: Option<&str>, forecast: Option<f32>) -> Value {
        let request_id = RequestId::for_test("chatcmpl-1");
        let estimate = forecast.map(|tokens| LengthEstimate {
            request_id: request_id.clone(),
            step: 0,
            forecast: ModelForecast {
                source: "test".into(),
                model_version: "1".into(),
                remaining: Forecast::point(tokens),
            },
        });
        let request = PreparedRequest {
            request_id,
            client_request_id: client_request_id.map(str::to_owned),
            client: ClientKey::default(),
            prompt: vec![1; 5],
            prompt_text: Some("a secret".into()),
            sampling: SamplingParams::default(),
            max_tokens: 20,
            seed: 1,
            priority: 0,
            task: None,
            deadline: None,
            include_eos_logprob: false,
            include_estimate: false,
        };
        let finished = FinishedRequest {
            reason: FinishReason::Stop,
            prompt_tokens: 5,
            generated_tokens: 11,
            admitted: Some(Duration::from_micros(1_500)),
            first_token: Some(Duration::from_millis(30)),
            last_token: Some(Duration::from_millis(130)),
            total: Duration::from_millis(131),
        };
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logs, || {
            FinishLine::new(&request, finished, estimate.as_ref(), None).log("small")
        });
        let line: Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        assert_eq!(line["level"], "INFO");
        line["fields"].clone()
    }

    #[test]
    fn the_line_tells_ids_tokens_times_reason_and_forecast() {
        let expected = json!({
            "message": "request finished", "request_id": "chatcmpl-1", "client_request_id": "mine", "model": "small",
            "reason": "stop", "prompt_tokens": 5, "generated_tokens": 11, "forecast_tokens": 14, "queue_ms": 1.5,
            "first_token_ms": 30.0, "total_ms": 131.0,
        });
        assert_eq!(fields_of_the_line(Some("mine"), Some(14.2)), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let fields = fields_of_the_line(None, None);
        assert!(fields.get("client_request_id").is_none() && fields.get("forecast_tokens").is_none(), "{fields}");
    }
}
