//! What surrounds the replies: names, ids, load, metrics, and pages of other origins.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use eoscast_worker::http::HttpOptions;
use eoscast_worker::runner::ScriptedRunner;
use eoscast_worker::runner::scripted::peaked_logits;
use serde_json::json;
use tokio::task::JoinSet;

use super::support::{ROOMY, Setup, stepwise, until};
use super::{Answer, Server, chat, post, says, tokenizer_size};

fn named(id: &str, body: &serde_json::Value) -> Request<Body> {
    let mut request = post("/v1/completions", body.to_string());
    request.headers_mut().insert("x-request-id", id.parse().unwrap());
    request
}

fn with_options(options: HttpOptions) -> Server {
    Server::saying("hello").with_options(options)
}

#[tokio::test]
async fn requests_of_one_name_are_all_answered_and_have_ids_of_their_own() {
    let (allow, script) = stepwise(|_| peaked_logits(tokenizer_size(), 65));
    let server = Server::start(&ROOMY, script);
    let mut running = JoinSet::new();
    for _ in 0..3 {
        let router = server.router.clone();
        running.spawn(async move { Answer::of(router, named("mine", &json!({ "prompt": "hi" }))).await });
    }
    until("all three are live", || server.engine.live_requests().len() == 3).await;
    drop(allow);
    let answers = running.join_all().await;
    let mut ids = Vec::new();
    for answer in &answers {
        assert_eq!(answer.headers["x-request-id"], "mine");
        ids.push(answer.json()["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn a_name_may_be_any_text_that_is_not_too_long_and_comes_back_with_errors_too() {
    let server = Server::saying("hello");
    for name in ["with spaces, and: more", &"x".repeat(256)] {
        let answer = server.send(named(name, &json!({ "prompt": "hi", "temperature": -1 }))).await;
        assert_eq!((answer.status, &answer.headers["x-request-id"]), (StatusCode::BAD_REQUEST, &name.parse().unwrap()));
        assert_eq!(answer.error()["param"], "temperature");
    }
    let answer = server.send(named(&"x".repeat(257), &json!({ "prompt": "hi" }))).await;
    assert_eq!((answer.status, &answer.error()["param"]), (StatusCode::BAD_REQUEST, &json!("x-request-id")));
}

#[tokio::test]
async fn clients_may_call_the_model_by_any_of_its_served_names_and_answers_have_the_first() {
    let served_names = vec!["gpt-small".to_owned(), "org/small".to_owned()];
    let server = with_options(HttpOptions { served_names, ..Default::default() });
    for model in ["gpt-small", "org/small", "default"] {
        assert_eq!(server.complete(&json!({ "model": model, "prompt": "hi" })).await["model"], "gpt-small");
    }
    let models = server.get("/v1/models").await.json();
    let names: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["gpt-small", "org/small"]);
    assert_eq!(models["data"][1]["root"], "scripted");
    let answer = server.post("/v1/completions", &json!({ "model": "scripted", "prompt": "hi" })).await;
    assert_eq!(answer.error()["message"], "model: `scripted` is not served here, use `gpt-small`");
}

#[tokio::test]
async fn the_operator_may_cap_the_context() {
    let server = Server::capped(&ROOMY, 16, |spec| ScriptedRunner::new(spec, says("hello")));
    assert_eq!(server.get("/v1/models").await.json()["data"][0]["max_model_len"], 16);
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi", "max_tokens": 15 })).await;
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("context (--max-model-len) of 16: at most 14"), "{message}");
    let answer = server.post("/v1/completions", &json!({ "prompt": "x".repeat(20) })).await;
    assert!(answer.error()["message"].as_str().unwrap().contains("context (--max-model-len) of 16"));
}

#[tokio::test]
async fn the_load_is_what_runs_and_waits() {
    let (allow, script) = stepwise(|_| peaked_logits(tokenizer_size(), 65));
    let server = Server::start(&Setup { max_running: 1, ..ROOMY }, script);
    assert_eq!(server.get("/load").await.json(), json!({ "server_load": 0 }));
    let replies = tokio::spawn(Answer::of(server.router.clone(), post("/v1/completions", r#"{"prompt":"hi","n":3}"#)));
    until("all three are live", || server.engine.live_requests().len() == 3).await;
    assert_eq!(server.get("/load").await.json(), json!({ "server_load": 3 }));
    drop(allow);
    replies.await.unwrap().json();
    assert_eq!(server.get("/load").await.json(), json!({ "server_load": 0 }));
}

#[tokio::test]
async fn a_ping_is_answered_as_health_is() {
    let server = Server::saying("hello");
    let ping = || server.send(Request::post("/ping").body(Body::empty()).unwrap());
    assert_eq!((server.get("/ping").await.status, ping().await.status), (StatusCode::OK, StatusCode::OK));
    server.engine.drain(std::time::Instant::now());
    assert_eq!(ping().await.status, StatusCode::SERVICE_UNAVAILABLE);
}

async fn preflight(server: &Server, origin: &str) -> Answer {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v1/chat/completions")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os");
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn pages_of_the_origins_that_are_named_may_call_and_others_may_not() {
    let ours = "https://chat.example.com";
    let cors_origins = vec![ours.parse().unwrap(), "http://localhost:3000".parse().unwrap()];
    let server = with_options(HttpOptions { cors_origins, ..Default::default() });
    let answer = preflight(&server, ours).await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (StatusCode::OK, &ours.parse().unwrap())
    );
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type,x-stainless-os");
    assert!(!preflight(&server, "https://evil.example.com").await.headers.contains_key("access-control-allow-origin"));

    let body = json!({ "messages": chat("hi") }).to_string();
    let mut request = post("/v1/chat/completions", body);
    request.headers_mut().insert("origin", ours.parse().unwrap());
    let answer = server.send(request).await;
    assert_eq!(answer.headers["access-control-allow-origin"], ours);
    assert_eq!(answer.headers["access-control-expose-headers"], "x-request-id");
    answer.json();
}

#[tokio::test]
async fn pages_of_other_origins_may_not_call_unless_asked_for() {
    let origin = "https://chat.example.com";
    assert!(!preflight(&Server::saying("hello"), origin).await.headers.contains_key("access-control-allow-origin"));
    let any = with_options(HttpOptions { cors_origins: vec!["*".parse().unwrap()], ..Default::default() });
    assert_eq!(preflight(&any, origin).await.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn metrics_are_text_unless_openmetrics_is_asked_for() {
    let server = Server::saying("hello");
    let page = server.get("/metrics").await;
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(page.body.contains("# TYPE eoscast_generation_tokens_total counter\n") && !page.body.contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let page = server.send(Request::get("/metrics").header("accept", accept).body(Body::empty()).unwrap()).await;
    assert_eq!(page.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(page.body.contains("# TYPE eoscast_generation_tokens counter\n") && page.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn refusals_are_counted_by_their_reason() {
    let server = Server::saying("hello");
    server.post("/v1/completions", &json!({ "prompt": "hi", "top_p": 7 })).await.error();
    server.send(post("/v1/chat/completions", "{")).await.error();
    server.post("/v1/completions", &json!({ "prompt": "hi", "model": "gpt-9" })).await.error();
    server.complete(&json!({ "prompt": "hi" })).await;
    server.engine.drain(std::time::Instant::now());
    server.post("/v1/completions", &json!({ "prompt": "hi" })).await.error();
    let page = server.get("/metrics").await.body;
    for (reason, count) in [("invalid", 2), ("unknown_model", 1), ("stopping", 1), ("queue_full", 0), ("internal", 0)] {
        let line = format!("eoscast_requests_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn a_request_that_the_engine_took_is_no_refusal_when_it_fails() {
    let server = Server::start(&ROOMY, |_| vec![f32::NAN; tokenizer_size()]);
    server.post("/v1/completions", &json!({ "prompt": "hi" })).await.error();
    let page = server.get("/metrics").await.body;
    for line in [
        "eoscast_requests_refused_total{reason=\"internal\"} 0\n",
        "eoscast_request_success_total{finished_reason=\"error\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}
