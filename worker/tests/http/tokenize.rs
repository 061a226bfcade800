//! Text to tokens and back.

use axum::http::StatusCode;
use serde_json::json;

use super::{Server, chat};

#[tokio::test]
async fn a_text_becomes_tokens_and_they_become_the_text() {
    let server = Server::saying("");
    let text = "the é\n<|im_end|>";
    let answer = server.post("/tokenize", &json!({ "prompt": text, "return_token_strs": true })).await.json();
    assert_eq!((&answer["count"], &answer["max_model_len"]), (&json!(6), &json!(4096)));
    assert_eq!(answer["token_strs"], json!(["the", "Ġ", "Ã", "©", "Ċ", "<|im_end|>"]));
    let back = server.post("/detokenize", &json!({ "tokens": answer["tokens"] })).await.json();
    assert_eq!(back, json!({ "prompt": text }));
}

#[tokio::test]
async fn a_conversation_becomes_the_tokens_that_a_chat_completion_counts() {
    let server = Server::saying("");
    let count = server.post("/tokenize", &json!({ "messages": chat("hi") })).await.json()["count"].clone();
    let answer = server.post("/v1/chat/completions", &json!({ "messages": chat("hi") })).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], count);
}

#[tokio::test]
async fn the_body_of_a_chat_completion_can_be_counted_as_it_is() {
    let server = Server::saying("");
    let body = json!({
        "model": "default", "messages": chat("hi"), "max_tokens": 3.0, "temperature": 0.5, "stream": true, "user": "me",
    });
    let count = server.post("/tokenize", &body).await.json()["count"].clone();
    assert_eq!(count, server.post("/tokenize", &json!({ "messages": chat("hi") })).await.json()["count"]);
    let back = server.post("/detokenize", &json!({ "tokens": [107.0, 1.08e2], "model": null })).await.json();
    assert_eq!(back["prompt"], "hi");
}

#[tokio::test]
async fn what_cannot_be_tokenised_is_refused_by_name() {
    let server = Server::saying("");
    for (path, body, param) in [
        ("/tokenize", json!({}), "messages"),
        ("/tokenize", json!({ "prompt": 3 }), "prompt"),
        ("/tokenize", json!({ "prompt": "a", "messages": chat("hi") }), "messages"),
        ("/tokenize", json!({ "messages": chat("hi"), "add_special_tokens": true }), "add_special_tokens"),
        ("/tokenize", json!({ "messages": chat("hi"), "tools": [{}] }), "tools"),
        ("/tokenize", json!({ "prompt": "a", "truncate_prompt_tokens": 1 }), "truncate_prompt_tokens"),
        ("/tokenize", json!({ "prompt": "a", "add_special_token": true }), "add_special_token"),
        ("/detokenize", json!({ "tokens": [1], "skip_special_tokens": false }), "skip_special_tokens"),
        ("/detokenize", json!({}), "tokens"),
        ("/detokenize", json!({ "tokens": [1, 262] }), "tokens[1]"),
        ("/detokenize", json!({ "tokens": [1, -2] }), "tokens[1]"),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!((answer.status, &answer.error()["param"]), (StatusCode::BAD_REQUEST, &json!(param)), "{body}");
    }
}
