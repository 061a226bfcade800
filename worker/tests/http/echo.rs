//! Replies that start with their prompts, and prompts without the model's own tokens.

use serde_json::{Value, json};

use super::stream::events;
use super::support::{ROOMY, Setup};
use super::{Server, babbles, with};

#[tokio::test]
async fn an_echo_is_the_prompt_before_each_reply() {
    let server = Server::saying("hello");
    let texts = async |body: Value| -> Vec<String> {
        let answer = server.complete(&with(&json!({ "echo": true, "max_tokens": 2 }), &body)).await;
        answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(json!({ "prompt": "hi ", "n": 2 })).await, ["hi he", "hi he"]);
    assert_eq!(texts(json!({ "prompt": ["one ", "two "] })).await, ["one he", "two he"]);
    assert_eq!(texts(json!({ "prompt": [107, 108] })).await, ["hihe"]);
}

#[tokio::test]
async fn a_stream_begins_each_choice_with_its_prompt() {
    let server = Server::saying("hello");
    let body = json!({ "prompt": ["one ", "two "], "echo": true, "stream": true, "max_tokens": 1 });
    let events = events(&server.post("/v1/completions", &body).await);
    let start = |event: &Value| (event["choices"][0]["index"].clone(), event["choices"][0]["text"].clone());
    assert_eq!(start(&events[0]), (json!(0), json!("one ")));
    assert_eq!(start(&events[1]), (json!(1), json!("two ")));
}

#[tokio::test]
async fn a_text_without_special_tokens_is_the_tokens_of_the_text() {
    let server = Server::saying("hello");
    let body = json!({ "prompt": "hi", "add_special_tokens": false, "max_tokens": 1 });
    let bare = server.post("/tokenize", &json!({ "prompt": "hi", "add_special_tokens": false })).await.json();
    assert_eq!(server.complete(&body).await["usage"]["prompt_tokens"], bare["count"]);
}

/// Natural logarithm of the probability that `babbles` gives `token` after `before`.
fn logprob(before: &[u32], token: u32) -> f64 {
    let logits = babbles(before);
    let mass: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    f64::from(logits[token as usize]) - mass.ln()
}

#[tokio::test]
async fn the_tokens_of_an_echoed_prompt_have_their_log_probabilities() {
    // A step computes fewer tokens than the prompt has, and the second request could take the first one's blocks.
    let server = Server::start(&Setup { max_running: 2, ..ROOMY }, babbles);
    let text = "a prompt of many more tokens than one step computes, é";
    let tokens: Vec<u32> =
        serde_json::from_value(server.post("/tokenize", &json!({ "prompt": text })).await.json()["tokens"].clone())
            .unwrap();
    let body = json!({ "prompt": text, "echo": true, "logprobs": 2, "max_tokens": 3, "seed": 1 });
    for more in [json!({}), json!({}), json!({ "max_tokens": 0 })] {
        let answer = server.complete(&with(&body, &more)).await;
        let choice = &answer["choices"][0];
        let generated = if more["max_tokens"] == 0 { 0 } else { 3 };
        assert_eq!(answer["usage"]["completion_tokens"], generated);
        assert_eq!(choice["text"] == text, generated == 0);
        let columns = &choice["logprobs"];
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(columns[name].as_array().unwrap().len(), tokens.len() + generated, "{name}");
        }
        assert_eq!((&columns["token_logprobs"][0], &columns["top_logprobs"][0]), (&Value::Null, &Value::Null));
        for i in 1..tokens.len() {
            let got = columns["token_logprobs"][i].as_f64().unwrap();
            assert!((got - logprob(&tokens[..i], tokens[i])).abs() < 1e-4, "token {i}: {columns}");
            let name = columns["tokens"][i].as_str().unwrap();
            assert_eq!(columns["top_logprobs"][i][name].as_f64(), Some(got));
        }
        // The two bytes of the last character begin at the same place.
        let offset = |i: usize| columns["text_offset"][i].as_u64().unwrap() as usize;
        let characters = text.chars().count();
        assert_eq!(
            (offset(0), offset(tokens.len() - 2), offset(tokens.len() - 1)),
            (0, characters - 1, characters - 1)
        );
        assert!((tokens.len()..tokens.len() + generated).all(|i| offset(i) >= characters));
    }
}

#[tokio::test]
async fn a_prompt_that_is_scored_is_computed_again_after_a_preemption() {
    // Two requests of 24 and more tokens do not fit 9 blocks of 4 for long.
    let server = Server::start(&Setup { num_blocks: 9, prefix_cache: false, ..ROOMY }, babbles);
    let body =
        json!({ "prompt": "sixteen letters!", "echo": true, "logprobs": 0, "max_tokens": 12, "seed": 1, "n": 2 });
    let together = server.complete(&body).await;
    let alone = server.complete(&with(&body, &json!({ "n": 1 }))).await;
    assert_eq!(together["choices"][0], alone["choices"][0]);
    let columns =
        |choice: usize| together["choices"][choice]["logprobs"]["token_logprobs"].as_array().unwrap()[..16].to_vec();
    assert_eq!(columns(0), columns(1));
}
