//! Whole answers.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::support::ROOMY;
use super::{Server, babbles, chat, post, tokenizer_size, with};

/// Of prompts too short for a block, so that no cache had any of them.
fn usage(prompt: usize, completion: usize) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": 0 },
    })
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_completion_has_openais_shape() {
    let server = Server::saying("hello");
    let answer =
        server.complete(&json!({ "model": "scripted", "prompt": "hi", "user": "someone", "echo": false })).await;
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "scripted");
    let choice = json!({ "index": 0, "text": "hello", "logprobs": null, "finish_reason": "stop" });
    assert_eq!(answer["choices"], json!([choice]));
    assert_eq!(answer["usage"], usage(2, 6));
}

#[tokio::test]
async fn the_fingerprint_is_the_same_for_every_answer_of_a_model() {
    let server = Server::saying("hello");
    let completion = server.complete(&json!({ "prompt": "hi" })).await;
    let chat = server.post("/v1/chat/completions", &json!({ "messages": chat("hi") })).await.json();
    assert!(completion["system_fingerprint"].as_str().unwrap().starts_with("fp_"));
    assert_eq!(completion["system_fingerprint"], chat["system_fingerprint"]);
}

#[tokio::test]
async fn usage_tells_what_the_prefix_cache_had() {
    let server = Server::saying("hello");
    let body = json!({ "prompt": "a prompt of some blocks", "max_tokens": 1, "n": 2 });
    let cached = async || server.complete(&body).await["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached().await, 0);
    // 23 tokens are five blocks of four; the prompt counts once.
    assert_eq!(cached().await, 20);
}

#[tokio::test]
async fn a_chat_completion_has_openais_shape() {
    let server = Server::saying("hello");
    let body = json!({ "messages": chat("hi"), "max_completion_tokens": 3, "max_tokens": 100 });
    let answer = server.post("/v1/chat/completions", &body).await.json();
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    let message = json!({ "role": "assistant", "content": "hel" });
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "length" });
    assert_eq!(answer["choices"], json!([choice]));
}

#[tokio::test]
async fn a_chat_message_may_come_in_parts_and_from_a_developer() {
    let server = Server::saying("hello");
    let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
    let tokens = |messages: Value| {
        let server = &server;
        async move { server.post("/tokenize", &json!({ "messages": messages })).await.json()["tokens"].clone() }
    };
    let in_parts = tokens(json!([{ "role": "developer", "content": parts }])).await;
    assert_eq!(in_parts, tokens(json!([{ "role": "system", "content": "a\nb" }])).await);
}

#[tokio::test]
async fn completions_are_cut_at_openais_sixteen_tokens_and_chats_are_not() {
    let server = Server::saying(&"x".repeat(40));
    let answer = server.complete(&json!({ "prompt": "hi" })).await;
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    let answer = server.post("/v1/chat/completions", &json!({ "messages": chat("hi") })).await.json();
    assert_eq!(answer["usage"]["completion_tokens"], 41);
}

#[tokio::test]
async fn length_control_ends_a_reply_that_would_be_cut() {
    let script = |_: &[u32]| {
        let mut logits = vec![0.0; tokenizer_size()];
        logits[..3].fill(-14.0);
        logits
    };
    let server = Server::start(&ROOMY, script);
    let body = json!({ "prompt": "hi", "seed": 1, "max_tokens": 60 });
    let controlled = json!({ "length_control": { "target_tokens": 10, "strength": 20 } });
    for (body, reason) in [(body.clone(), "length"), (with(&body, &controlled), "stop")] {
        assert_eq!(server.complete(&body).await["choices"][0]["finish_reason"], reason, "{body}");
    }
}

#[tokio::test]
async fn several_choices_are_those_of_the_seeds_that_follow() {
    let server = Server::start(&ROOMY, babbles);
    let body = json!({ "prompt": "hi", "seed": 40, "max_tokens": 12 });
    let together = server.complete(&with(&body, &json!({ "n": 3 }))).await;
    let mut alone = Vec::new();
    for seed in 40..43 {
        alone.push(server.complete(&with(&body, &json!({ "seed": seed }))).await["choices"][0]["text"].clone());
    }
    assert_eq!(texts(&together), alone);
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);
    assert_eq!(together["usage"], usage(2, 36));
}

#[tokio::test]
async fn several_prompts_are_answered_in_their_order_as_each_alone() {
    let server = Server::start(&ROOMY, babbles);
    let body = json!({ "prompt": ["one", "three"], "seed": 1, "n": 2 });
    let together = server.complete(&body).await;
    let first = server.complete(&with(&body, &json!({ "prompt": "one" }))).await;
    let second = server.complete(&with(&body, &json!({ "prompt": ["three"] }))).await;
    assert_eq!(texts(&together), [texts(&first), texts(&second)].concat());
    assert_eq!(together["usage"]["prompt_tokens"], 7);
    assert_eq!(together["choices"][3]["index"], 3);
}

#[tokio::test]
async fn a_prompt_may_be_tokens() {
    let server = Server::start(&ROOMY, babbles);
    let tokens = server.post("/tokenize", &json!({ "prompt": "one" })).await.json()["tokens"].clone();
    let body = json!({ "prompt": "one", "seed": 1 });
    let expected = server.complete(&body).await;
    for prompt in [tokens.clone(), json!([tokens])] {
        assert_eq!(texts(&server.complete(&with(&body, &json!({ "prompt": prompt }))).await), texts(&expected));
    }
}

#[tokio::test]
async fn logprobs_of_completions_are_columns_with_the_sampled_token_among_the_top() {
    let server = Server::start(&ROOMY, babbles);
    let answer = server.complete(&json!({ "prompt": "hi", "seed": 3, "max_tokens": 10, "logprobs": 2 })).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    let tokens: Vec<&str> = logprobs["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!(tokens.len(), 10);
    for (i, token) in tokens.iter().enumerate() {
        let logprob = logprobs["token_logprobs"][i].as_f64().unwrap();
        assert!(logprob < 0.0);
        let top = logprobs["top_logprobs"][i].as_object().unwrap();
        assert!(top.contains_key(*token), "{token:?} is not among {top:?}");
        assert!((1..=3).contains(&top.len()), "{top:?}");
        assert!(top.values().any(|other| other.as_f64().unwrap() >= logprob));
    }
}

#[tokio::test]
async fn logprobs_of_chats_are_rows_whose_bytes_give_split_characters_back() {
    let server = Server::saying("é");
    let body = json!({ "messages": chat("hi"), "logprobs": true, "top_logprobs": 2 });
    let answer = server.post("/v1/chat/completions", &body).await.json();
    let rows = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<&Value> = rows.iter().map(|row| &row["bytes"]).collect();
    assert_eq!(bytes[..2], [&json!([0xC3]), &json!([0xA9])]);
    assert_eq!(rows[2]["token"], "<|im_end|>");
    for row in rows {
        let top = row["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!((&top[0]["bytes"], &top[0]["logprob"]), (&row["bytes"], &row["logprob"]));
        assert!(top[1]["logprob"].as_f64() < top[0]["logprob"].as_f64());
    }
    let none = with(&body, &json!({ "logprobs": true, "top_logprobs": null }));
    let answer = server.post("/v1/chat/completions", &none).await.json();
    assert_eq!(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
}

#[tokio::test]
async fn vllms_additions_reach_the_sampler() {
    let server = Server::saying("hello");
    let finish = async |more: Value| {
        let answer = server.complete(&with(&json!({ "prompt": "hi", "max_tokens": 9 }), &more)).await;
        (answer["choices"][0]["finish_reason"].clone(), answer["usage"]["completion_tokens"].as_u64().unwrap())
    };
    assert_eq!(finish(json!({})).await, (json!("stop"), 6));
    assert_eq!(finish(json!({ "ignore_eos": true })).await, (json!("length"), 9));
    assert_eq!(finish(json!({ "min_tokens": 8, "top_k": -1 })).await, (json!("stop"), 8));
    assert_eq!(finish(json!({ "stop": ["zz", "l"] })).await, (json!("stop"), 3));
    assert_eq!(finish(json!({ "stop_token_ids": [3 + u32::from(b'l' - b'!') + 33 ] })).await.0, json!("stop"));
}

#[tokio::test]
async fn logit_bias_forces_and_bans_tokens() {
    let server = Server::saying("hello");
    let token = 3 + u32::from(b'x');
    let body = |bias: Value| json!({ "prompt": "hi", "max_tokens": 3, "temperature": 0, "logit_bias": bias });
    let forced = server.complete(&body(json!({ token.to_string(): 100 }))).await;
    assert_eq!(texts(&forced), ["xxx"]);
    let banned = server.complete(&body(json!({ (3 + u32::from(b'h')).to_string(): -100.0, "7": null }))).await;
    assert!(!texts(&banned)[0].starts_with('h'), "{banned}");
}

#[tokio::test]
async fn a_request_keeps_the_name_that_its_header_gives_beside_the_id_of_its_answer() {
    let server = Server::saying("hello");
    let mut request = post("/v1/completions", json!({ "prompt": "hi", "n": 2 }).to_string());
    request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer = server.send(request).await;
    assert_eq!(answer.headers["x-request-id"], "mine");
    assert!(answer.json()["id"].as_str().unwrap().starts_with("cmpl-"));
    let unnamed = server.post("/v1/completions", &json!({ "prompt": "hi" })).await;
    assert_eq!(unnamed.json()["id"], unnamed.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn the_model_and_the_version_are_told() {
    let server = Server::saying("hello");
    let models = server.get("/v1/models").await.json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("scripted")));
    assert_eq!(server.get("/v1/models/scripted").await.json(), models["data"][0]);
    assert_eq!(server.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/health").await.status, StatusCode::OK);
    for model in ["", "default", "scripted"] {
        server.complete(&json!({ "model": model, "prompt": "hi" })).await;
    }
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("eoscast_request_finished_total{finished_reason=\"stop\"} 3"), "{metrics}");
}
