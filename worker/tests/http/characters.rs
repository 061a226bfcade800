//! Characters that are made of several tokens: the tiny model has one token a byte.

use serde_json::{Value, json};

use super::support::ROOMY;
use super::{Server, chat, tokenizer_size};

/// Logits of random-looking order, the first byte of an emoji first, then its others.
fn emoji_bytes(so_far: &[u32]) -> Vec<f32> {
    let bytes = "😀".as_bytes();
    let mut logits: Vec<f32> = (0..tokenizer_size()).map(|id| -(id as f32) / 1e3).collect();
    // Parts of other characters are the likeliest after it.
    for (rank, byte) in [0xF1, 0xF2, 0xF3].into_iter().enumerate() {
        logits[3 + byte] = 5.0 - rank as f32;
    }
    logits[3 + usize::from(bytes[(so_far.len() - 2) % bytes.len()])] = 10.0;
    logits
}

async fn complete(max_tokens: u32) -> Value {
    let server = Server::start(&ROOMY, emoji_bytes);
    let body = json!({ "prompt": "hi", "max_tokens": max_tokens, "temperature": 0, "logprobs": 3 });
    server.complete(&body).await["choices"][0].clone()
}

#[tokio::test]
async fn a_reply_that_is_cut_within_a_character_leaves_it_out() {
    for (max_tokens, text) in [(3, ""), (4, "😀"), (6, "😀"), (8, "😀😀")] {
        let choice = complete(max_tokens).await;
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(text), &json!("length")));
    }
}

#[tokio::test]
async fn offsets_count_whole_characters_and_stay_within_the_text() {
    let choice = complete(7).await;
    assert_eq!(choice["text"], "😀");
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 0, 0, 0, 1, 1, 1]));
}

#[tokio::test]
async fn parts_of_characters_are_written_as_bytes_and_each_likely_token_has_its_entry() {
    let choice = complete(4).await;
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80"]));
    for top in logprobs["top_logprobs"].as_array().unwrap() {
        assert_eq!(top.as_object().unwrap().len(), 3, "{top}");
    }
}

#[tokio::test]
async fn rows_of_chats_have_bytes_and_their_escapes() {
    let server = Server::start(&ROOMY, |so_far| emoji_bytes(&vec![0; so_far.len() + 1]));
    let body =
        json!({ "messages": chat("hi"), "max_tokens": 1, "temperature": 0, "logprobs": true, "top_logprobs": 2 });
    let answer = server.post("/v1/chat/completions", &body).await.json();
    let row = &answer["choices"][0]["logprobs"]["content"][0];
    let byte = row["bytes"][0].as_u64().unwrap();
    assert_eq!(row["token"], format!("\\x{byte:02x}"));
    assert_eq!(row["top_logprobs"][1]["bytes"], json!([0xF1]));
}
