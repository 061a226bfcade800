//! Failures in OpenAI's form.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use eoscast_worker::runner::scripted::peaked_logits;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{ROOMY, Setup, stepwise};
use super::{Server, chat, post, says, tokenizer_size, with};

#[tokio::test]
async fn a_field_that_is_wrong_is_named() {
    let server = Server::saying("hello");
    let text = json!({ "prompt": "hi" });
    let talk = json!({ "messages": chat("hi") });
    for (param, more) in [
        ("temperature", json!({ "temperature": "warm" })),
        ("temperature", json!({ "temperature": -1 })),
        ("temperature", json!({ "temperature": 1e39 })),
        ("top_p", json!({ "top_p": 0 })),
        ("top_k", json!({ "top_k": -2 })),
        ("min_p", json!({ "min_p": 2 })),
        ("repetition_penalty", json!({ "repetition_penalty": 0 })),
        ("frequency_penalty", json!({ "frequency_penalty": 3 })),
        ("presence_penalty", json!({ "presence_penalty": [] })),
        ("max_tokens", json!({ "max_tokens": 0 })),
        ("max_tokens", json!({ "max_tokens": -1 })),
        ("max_tokens", json!({ "max_tokens": 5000 })),
        ("min_tokens", json!({ "min_tokens": 9, "max_tokens": 8 })),
        ("stop", json!({ "stop": 3 })),
        ("stop[1]", json!({ "stop": ["a", ""] })),
        ("stop_token_ids", json!({ "stop_token_ids": [262] })),
        ("stop_token_ids[0]", json!({ "stop_token_ids": ["x"] })),
        ("ignore_eos", json!({ "ignore_eos": "yes" })),
        ("seed", json!({ "seed": 1.5 })),
        ("seed", json!({ "seed": 18_446_744_073_709_551_616_i128 as f64 })),
        ("n", json!({ "n": 0 })),
        ("n", json!({ "n": 257 })),
        ("stream", json!({ "stream": 1 })),
        ("stream_options", json!({ "stream_options": {} })),
        ("stream_options.include_usage", json!({ "stream": true, "stream_options": { "include_usage": 1 } })),
        ("priority", json!({ "priority": 0.5 })),
        ("task", json!({ "task": "x".repeat(65) })),
        ("x_forecast", json!({ "x_forecast": {} })),
        ("logit_bias", json!({ "logit_bias": { "262": 2 } })),
        ("logit_bias", json!({ "logit_bias": [[1, 2]] })),
        ("logit_bias.the", json!({ "logit_bias": { "the": 2 } })),
        ("logit_bias.1", json!({ "logit_bias": { "1": 101 } })),
        ("response_format.type", json!({ "response_format": { "type": "json_object" } })),
        ("model", json!({ "model": 3 })),
        ("length_control", json!({ "length_control": 48 })),
        ("length_control", json!({ "length_control": { "strength": 3 } })),
        ("length_control", json!({ "length_control": { "target_tokens": 48 }, "ignore_eos": true })),
        ("length_control.target_tokens", json!({ "length_control": { "target_tokens": 0 } })),
        ("length_control.target", json!({ "length_control": { "target_tokens": 48, "target": 1 } })),
        ("length_control.strength", json!({ "length_control": { "target_tokens": 48, "strength": -1 } })),
    ] {
        for (path, base) in [("/v1/completions", &text), ("/v1/chat/completions", &talk)] {
            names(&server, path, &with(base, &more), param).await;
        }
    }
    for (param, more) in [
        ("prompt", json!({ "prompt": null })),
        ("prompt", json!({ "prompt": "" })),
        ("prompt", json!({ "prompt": [] })),
        ("prompt", json!({ "prompt": ["a", 1] })),
        ("prompt", json!({ "prompt": [262] })),
        ("prompt[1]", json!({ "prompt": ["a", "x".repeat(5000)] })),
        ("prompt[1]", json!({ "prompt": [[1], [262]] })),
        ("prompt", json!({ "prompt": vec!["a"; 129], "n": 2 })),
        ("echo", json!({ "echo": 1 })),
        ("logprobs", json!({ "echo": true, "logprobs": 21 })),
        ("suffix", json!({ "suffix": "end" })),
        ("best_of", json!({ "best_of": 2 })),
        ("logprobs", json!({ "logprobs": 21 })),
        ("logprobs", json!({ "logprobs": true })),
    ] {
        names(&server, "/v1/completions", &with(&text, &more), param).await;
    }
    for (param, more) in [
        ("messages", json!({ "messages": [] })),
        ("messages", json!({ "messages": "hi" })),
        ("messages[1].role", json!({ "messages": [chat("hi")[0], { "role": "robot", "content": "" }] })),
        ("messages[0]", json!({ "messages": [{ "content": "hi" }] })),
        ("messages[0].images", json!({ "messages": [{ "role": "user", "content": "hi", "images": ["x"] }] })),
        ("messages[0].content", json!({ "messages": [{ "role": "user", "content": 3 }] })),
        ("messages[0].content", json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] })),
        ("messages[0].tool_calls[0]", json!({ "messages": [{ "role": "assistant", "tool_calls": [{}] }] })),
        ("top_logprobs", json!({ "logprobs": true, "top_logprobs": 21 })),
        ("top_logprobs", json!({ "top_logprobs": 1 })),
        ("tools", json!({ "tools": [{}] })),
        ("tools", json!({ "tools": [{}], "tool_choice": "auto" })),
        ("functions", json!({ "functions": [{}] })),
        ("tool_choice", json!({ "tool_choice": "required" })),
        ("tool_choice", json!({ "tool_choice": { "type": "function", "function": { "name": "f" } } })),
        ("add_special_tokens", json!({ "add_special_tokens": true })),
        ("continue_final_message", json!({ "continue_final_message": true, "add_generation_prompt": true })),
        ("chat_template_kwargs", json!({ "chat_template_kwargs": [] })),
        ("chat_template_kwargs.messages", json!({ "chat_template_kwargs": { "messages": [] } })),
        ("max_completion_tokens", json!({ "max_completion_tokens": "many" })),
        ("max_completion_tokens", json!({ "max_completion_tokens": 0 })),
        ("max_completion_tokens", json!({ "max_completion_tokens": 5000, "max_tokens": 8 })),
    ] {
        names(&server, "/v1/chat/completions", &with(&talk, &more), param).await;
    }
}

async fn names(server: &Server, path: &str, body: &Value, param: &str) {
    let answer = server.post(path, body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    let error = answer.error();
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["param"], param, "{error}");
    assert!(error["message"].as_str().unwrap().starts_with(&format!("{param}: ")), "{error}");
}

#[tokio::test]
async fn another_model_is_not_found() {
    let server = Server::saying("hello");
    for answer in [
        server.post("/v1/completions", &json!({ "model": "gpt-4", "prompt": "hi" })).await,
        server.post("/tokenize", &json!({ "model": "gpt-4", "prompt": "hi" })).await,
        server.get("/v1/models/gpt-4").await,
    ] {
        let error = answer.error();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("model_not_found")));
        assert_eq!(error["message"], "model: `gpt-4` is not served here, use `scripted`");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_same_form() {
    let server = Server::saying("hello");
    let plain = Request::post("/v1/completions").body(Body::from("{}")).unwrap();
    let huge = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(4 << 20));
    for (request, status, message) in [
        (post("/v1/completions", "{"), StatusCode::BAD_REQUEST, "body must be a json object: EOF"),
        (post("/v1/completions", "[1]"), StatusCode::BAD_REQUEST, "body must be a json object: invalid type"),
        (post("/v1/completions", "{} {}"), StatusCode::BAD_REQUEST, "body must be a json object: trailing"),
        (plain, StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type: must be application/json"),
        (post("/v1/completions", huge), StatusCode::PAYLOAD_TOO_LARGE, "body exceeds 4 MiB"),
        (post("/v1/embeddings", "{}"), StatusCode::NOT_FOUND, "no such endpoint: POST /v1/embeddings"),
        (
            Request::get("/v1/completions").body(Body::empty()).unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
            "/v1/completions does not take GET",
        ),
    ] {
        let answer = server.send(request).await;
        let error = answer.error();
        assert_eq!(answer.status, status, "{error}");
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn an_answer_repeats_only_the_beginning_of_what_the_client_wrote() {
    let server = Server::saying("hello");
    let long = "long".repeat(1 << 16);
    for body in [
        json!({ "model": long, "prompt": "hi" }),
        json!({ "prompt": "hi", "logit_bias": { &long: 2 } }),
        json!({ "prompt": "hi", &long: 2 }),
    ] {
        let answer = server.post("/v1/completions", &body).await;
        assert!(answer.status.is_client_error() && answer.body.len() < 1_000, "{}", &answer.body[..1_000]);
        assert!(answer.body.contains("longlong"), "{}", answer.body);
    }
    let answer = server.get(&format!("/v1/{}", &long[..1 << 14])).await;
    assert!(answer.status == StatusCode::NOT_FOUND && answer.body.len() < 1_000, "{}", &answer.body[..1_000]);
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again_and_keeps_no_choice_of_the_refused() {
    let (allow, script) = stepwise(|_| peaked_logits(tokenizer_size(), 65));
    let server = Server::start(&Setup { max_waiting: 2, max_running: 1, ..ROOMY }, script);
    // One may run already, two wait, one is too many.
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi", "n": 4 })).await;
    let error = answer.error();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("queue_full")));
    drop(allow);
    let both_places_are_free = async {
        while server.post("/v1/completions", &json!({ "prompt": "hi", "n": 2 })).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both_places_are_free).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_stops_sends_clients_elsewhere() {
    let server = Server::saying("hello");
    server.engine.drain(Instant::now() + Duration::from_secs(20));
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi" })).await;
    let error = answer.error();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("unavailable")));
    assert_eq!(server.get("/health").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_step_that_fails_is_an_internal_error() {
    let server = Server::start(&ROOMY, |_| vec![f32::NAN; tokenizer_size()]);
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi" })).await;
    assert_eq!((answer.status, &answer.error()["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("internal")));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..300u32).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("role|content|type|text|include_usage", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

const FIELDS: &str = "prompt|messages|temperature|top_p|top_k|min_p|stop|seed|n|logprobs|top_logprobs|stream|tokens\
    |stream_options|max_tokens|min_tokens|priority|task|tools|x_forecast|repetition_penalty|logit_bias|best_of";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_body_is_more_than_a_clients_mistake(
        fields in prop::collection::hash_map(FIELDS, any_json(), 0..6),
        bytes: Vec<u8>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Short of room and of places, so that no body makes long work.
            let server = Server::start(&Setup { num_blocks: 32, max_waiting: 8, ..ROOMY }, says("hello"));
            let mut body = json!({ "prompt": "hi", "messages": chat("hi"), "max_tokens": 9 });
            for (name, value) in fields {
                body[name] = value;
            }
            for path in ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"] {
                let answer = server.post(path, &body).await;
                prop_assert!(!answer.status.is_server_error(), "{path} {body}: {}", answer.body);
                let answer = server.send(post(path, bytes.clone())).await;
                prop_assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                prop_assert!(answer.error()["message"].is_string());
            }
            Ok(())
        })?;
    }
}
