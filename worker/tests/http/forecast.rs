//! Forecasts in answers.

use eoscast_proto::domain::{END_WITHIN, Forecast, LengthEstimate, ModelForecast, QUANTILE_LEVELS, RequestId};
use eoscast_worker::engine::EngineHandle;
use serde_json::{Value, json};

use super::stream::events;
use super::support::{ROOMY, stepwise, until};
use super::{Server, post, says, with};

/// What a predictor would tell about a request after `step` tokens.
fn predict(engine: &EngineHandle, request_id: RequestId, step: u32, mean: f32) {
    let estimate = LengthEstimate {
        request_id,
        step,
        forecast: ModelForecast {
            source: "test".into(),
            model_version: "1".into(),
            remaining: Forecast { end_within: [0.25; END_WITHIN.len()], ..Forecast::point(mean) },
        },
    };
    engine.link().estimates().update(estimate);
}

/// The answer to `more` while a predictor expects 9 tokens on arrival.
async fn forecast(more: &Value) -> super::Answer {
    let (allow, script) = stepwise(says("hi"));
    let server = Server::start(&ROOMY, script);
    let request = post("/v1/completions", with(&json!({ "prompt": "hi" }), more).to_string());
    let engine = server.engine.clone();
    let answer = tokio::spawn(async move { server.send(request).await });
    allow.send(()).unwrap();
    until("the request runs", || engine.metrics().load().0.running_requests == 1).await;
    let id = engine.live_requests().remove(0);
    predict(&engine, id, 0, 9.0);
    drop(allow);
    answer.await.unwrap()
}

#[tokio::test]
async fn an_answer_carries_the_first_estimate_if_asked() {
    let answer = forecast(&json!({ "x_forecast": true })).await.json();
    let first = &answer["choices"][0]["x_forecast"]["first_estimate"];
    assert_eq!((&first["step"], &first["mean"]), (&json!(0), &json!(9.0)));
    assert_eq!((&first["quantiles"]["0.5"], &first["end_within"]["64"]), (&json!(9.0), &json!(0.25)));
    assert_eq!(first["quantiles"].as_object().unwrap().len(), QUANTILE_LEVELS.len());
}

#[tokio::test]
async fn chunks_carry_the_current_estimate_and_the_last_one_the_first_if_asked() {
    let answer = forecast(&json!({ "x_forecast": true, "stream": true })).await;
    let events = events(&answer);
    let of = |event: &Value| event["choices"][0]["x_forecast"].clone();
    let last_token = &events[events.len() - 2];
    assert_eq!(of(last_token)["estimate"]["mean"], 9.0);
    assert_eq!(of(events.last().unwrap())["first_estimate"]["mean"], 9.0);
}

#[tokio::test]
async fn plain_clients_see_no_forecast() {
    for body in [json!({}), json!({ "stream": true })] {
        assert!(!forecast(&body).await.body.contains("x_forecast"));
    }
}

#[tokio::test]
async fn without_a_predictor_the_first_estimate_is_null() {
    let answer = Server::saying("hi").complete(&json!({ "prompt": "hi", "x_forecast": true })).await;
    assert_eq!(answer["choices"][0]["x_forecast"], json!({ "first_estimate": null }));
}
