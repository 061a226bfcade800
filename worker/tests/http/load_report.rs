//! The load that comes with an answer, for balancers.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Server, post};

const WHOLE: &str = r#"{"prompt": "hi"}"#;
const STREAMED: &str = r#"{"prompt": "hi", "stream": true}"#;

fn wanting(format: &str, body: &str) -> Request<Body> {
    let mut request = post("/v1/completions", body.to_owned());
    request.headers_mut().insert("endpoint-load-metrics-format", format.parse().unwrap());
    request
}

fn reported(answer: &Answer) -> Option<&str> {
    answer.headers.get("endpoint-load-metrics").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_carries_the_load_if_the_request_wants_it_whole_or_streamed() {
    let server = Server::saying("hello");
    for body in [WHOLE, STREAMED] {
        let answer = server.send(wanting("TEXT", body)).await;
        let text = reported(&answer).unwrap();
        assert!(text.starts_with("TEXT application_utilization=0.01, rps_fractional=1000, eps=0, "), "{text}");
        let answer = server.send(wanting("json", body)).await;
        let report: Value = serde_json::from_str(reported(&answer).unwrap().strip_prefix("JSON ").unwrap()).unwrap();
        assert_eq!(report["application_utilization"], json!(0.01));
        assert!(report["named_metrics"]["requests_per_second"].as_f64().unwrap() > 0.0, "{report}");
        let answer = server.send(wanting("BIN", body)).await;
        assert!(reported(&answer).unwrap().starts_with("BIN "));
    }
}

#[tokio::test]
async fn an_answer_to_a_request_that_asks_for_no_format_or_an_unknown_one_carries_none() {
    let server = Server::saying("hello");
    let answers = [
        server.send(post("/v1/completions", WHOLE)).await,
        server.send(wanting("YAML", WHOLE)).await,
        server.send(wanting("", WHOLE)).await,
    ];
    for answer in answers {
        assert_eq!((answer.status, reported(&answer)), (StatusCode::OK, None));
    }
    let mut nonsense = post("/v1/completions", WHOLE);
    nonsense.headers_mut().insert("endpoint-load-metrics-format", HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(reported(&server.send(nonsense).await), None);
}

#[tokio::test]
async fn a_refusal_carries_the_load_too() {
    let answer = Server::saying("hello").send(wanting("TEXT", r#"{"prompt": "hi", "n": 0}"#)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(reported(&answer).is_some());
}

#[tokio::test]
async fn a_worker_that_stops_reports_what_attracts_no_work() {
    let server = Server::saying("hello");
    server.engine.announce_stop();
    let answer = server.send(wanting("TEXT", WHOLE)).await;
    assert_eq!(answer.status, StatusCode::OK, "it still takes requests");
    assert!(reported(&answer).unwrap().contains("rps_fractional=0.001, "), "{:?}", reported(&answer));
}
