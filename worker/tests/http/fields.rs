//! Fields that are read, taken without effect, or refused; and bodies however they are written.

use std::io::Write;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use eoscast_worker::http::HttpOptions;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::{Server, chat, post, with};

const PATHS: [&str; 2] = ["/v1/completions", "/v1/chat/completions"];

/// A body that works at `path`.
fn working(path: &str) -> Value {
    match path {
        "/v1/completions" => json!({ "prompt": "hi", "max_tokens": 4 }),
        _ => json!({ "messages": chat("hi"), "max_tokens": 4 }),
    }
}

#[tokio::test]
async fn a_field_of_another_server_that_would_change_the_answer_is_refused_by_name() {
    let strict = Server::saying("hello");
    let lenient =
        Server::saying("hello").with_options(HttpOptions { ignore_unknown_fields: true, ..HttpOptions::default() });
    for (name, value) in [
        ("regex", json!("[0-9]+")),
        ("grammar", json!("root ::= \"a\"")),
        ("json_schema", json!({ "type": "object" })),
        ("ebnf", json!("root ::= \"a\"")),
        ("guided_choice", json!(["a"])),
        ("structured_outputs", json!({ "regex": "a" })),
        ("truncate_prompt_tokens", json!(2)),
        ("repeat_penalty", json!(1.2)),
        ("n_predict", json!(3)),
        ("skip_special_tokens", json!(false)),
        ("spaces_between_special_tokens", json!(false)),
        ("include_stop_str_in_output", json!(true)),
        ("return_token_ids", json!(true)),
        ("prompt_logprobs", json!(0)),
        ("allowed_token_ids", json!([1])),
        ("bad_words", json!(["a"])),
        ("use_beam_search", json!(true)),
        ("length_penalty", json!(0.5)),
        ("documents", json!([{ "text": "a" }])),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({ "voice": "a" })),
        ("reasoning_effort", json!("low")),
        ("mirostat", json!(2)),
        ("typical_p", json!(0.5)),
        ("dry_multiplier", json!(0.8)),
        ("samplers", json!(["top_k"])),
        ("n_probs", json!(3)),
        ("adapter_id", json!("a")),
        ("lora", json!([{ "id": 0, "scale": 1 }])),
        ("enable_thinking", json!(false)),
        ("extra_body", json!({ "top_k": 3 })),
    ] {
        for (server, path) in [(&strict, PATHS[0]), (&strict, PATHS[1]), (&lenient, PATHS[0])] {
            let answer = server.post(path, &with(&working(path), &json!({ name: value }))).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {name}");
            let error = answer.error();
            assert_eq!(error["param"], name);
            assert!(error["message"].as_str().unwrap().starts_with(&format!("{name}: is not supported: ")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_value_that_asks_for_nothing_and_a_field_that_only_informs_are_taken() {
    let server = Server::saying("hello");
    let more = json!({
        "regex": null, "grammar": "", "bad_words": [], "documents": [], "lora": false, "skip_special_tokens": true,
        "repeat_penalty": 1.0, "length_penalty": 1, "mirostat": 0, "mirostat_tau": 5.0, "n_probs": 0, "modalities": ["text"],
        "dry_sequence_breakers": ["\n", ":", "\"", "*"], "best_of": 1, "response_format": { "type": "text" },
        "user": "someone", "metadata": { "a": "b" }, "store": true, "safety_identifier": "x", "prompt_cache_key": "k",
        "service_tier": "auto", "parallel_tool_calls": false, "cache_prompt": false, "nobody_knows_this": null,
    });
    for path in PATHS {
        server.post(path, &with(&working(path), &more)).await.json();
    }
}

#[tokio::test]
async fn a_field_that_nobody_knows_is_refused_unless_the_worker_ignores_such_fields() {
    let server = Server::saying("hello");
    let misspelt = with(&working(PATHS[0]), &json!({ "temprature": 0.5 }));
    let nested = json!({ "stream": true, "stream_options": { "include_usge": true } });
    let nested = with(&working(PATHS[0]), &nested);
    let error = server.post(PATHS[0], &misspelt).await.error();
    assert_eq!(error["message"], "temprature: is not a field of this endpoint: did you mean temperature?");
    let error = server.post(PATHS[0], &nested).await.error();
    assert_eq!(error["param"], "stream_options.include_usge");
    let server = server.with_options(HttpOptions { ignore_unknown_fields: true, ..HttpOptions::default() });
    for body in [misspelt, nested] {
        assert_eq!(server.post(PATHS[0], &body).await.status, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn null_is_absent_at_every_depth_and_integral_floats_are_integers() {
    let server = Server::saying("hello");
    let more = json!({
        "n": 1.0, "seed": 42.0, "top_k": 40.0, "min_tokens": 1.0, "priority": -1.0, "stop_token_ids": [5.0, 1e1],
        "length_control": { "target_tokens": 8e0, "strength": null }, "logit_bias": { "5": null }, "stop": ["zz", null],
        "temperature": null, "logprobs": null, "top_p": null, "ignore_eos": null, "best_of": null, "model": null,
        "stream": true, "stream_options": { "include_usage": null, "continuous_usage_stats": null },
        "response_format": null, "task": null, "x_forecast": null, "max_tokens": 4.0,
    });
    for path in PATHS {
        let answer = server.post(path, &with(&working(path), &more)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    let tokens = json!({ "prompt": [107.0, 1.08e2], "max_tokens": 1e0 });
    assert_eq!(server.complete(&tokens).await["usage"]["prompt_tokens"], 2);
    let error = server.post(PATHS[0], &json!({ "prompt": "hi", "max_tokens": 1.5 })).await.error();
    assert_eq!(error["message"], "max_tokens: must be an integer from 0 to 4294967295, got 1.5");
}

#[tokio::test]
async fn a_bound_that_is_broken_is_told_in_a_few_digits() {
    let server = Server::saying("hello");
    for (more, message) in [
        (json!({ "top_p": 0 }), "top_p: must be above 0, at most 1, got 0"),
        (json!({ "temperature": 3e38 }), "temperature: must be from 0 to 100, got 3e38"),
        (json!({ "max_tokens": 0 }), "max_tokens: must be at least 1, got 0"),
    ] {
        let error = server.post(PATHS[0], &with(&working(PATHS[0]), &more)).await.error();
        assert_eq!(error["message"], message);
    }
}

fn packed(encoding: &str, body: Vec<u8>) -> Request<Body> {
    let mut request = post(PATHS[0], body);
    request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_may_have_a_byte_order_mark_and_be_packed() {
    let server = Server::saying("hello");
    let json = working(PATHS[0]).to_string();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(json.as_bytes()).unwrap();
    for request in [
        post(PATHS[0], format!("\u{FEFF}{json}")),
        packed("identity", json.clone().into()),
        packed("gzip", gzip(json.as_bytes())),
        packed("X-GZIP, identity", gzip(json.as_bytes())),
        packed("deflate", zlib.finish().unwrap()),
    ] {
        server.send(request).await.json();
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_unpacked_or_unpacks_to_too_much_is_refused() {
    let server = Server::saying("hello");
    let huge = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(64 << 20));
    for (request, status, message) in [
        (packed("zstd", Vec::new()), StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding: `zstd` is not read"),
        (
            packed("gzip, gzip", Vec::new()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-encoding: packing a body twice",
        ),
        (packed("gzip", b"{}".to_vec()), StatusCode::BAD_REQUEST, "content-encoding: the body cannot be unpacked"),
        (packed("gzip", gzip(huge.as_bytes())), StatusCode::PAYLOAD_TOO_LARGE, "body exceeds 4 MiB"),
    ] {
        let answer = server.send(request).await;
        let error = answer.error();
        assert_eq!(answer.status, status, "{error}");
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
    }
}
