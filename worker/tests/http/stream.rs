//! Server-sent events.

use axum::http::StatusCode;
use eoscast_worker::runner::ScriptedRunner;
use serde_json::{Value, json};

use super::support::ROOMY;
use super::{Answer, Server, babbles, chat, says, with};

/// The bytes of a stream, with time and fingerprint taken out, and its id replaced by one that ends in `-r-1`.
fn normalised(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut text = String::new();
    let mut rest = answer.body.as_str();
    while let Some((before, after)) = rest.split_once("\"created\":") {
        text.push_str(before);
        text.push_str("\"created\":T");
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    text += rest;
    let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let prefix = id.split('-').next().unwrap();
    let first: Value =
        serde_json::from_str(text.lines().next().unwrap().trim_start_matches("data: ").replace(":T", ":0").as_str())
            .unwrap();
    let text = text.replace(first["system_fingerprint"].as_str().unwrap(), "F");
    text.replace(&id, &format!("{prefix}-r-1"))
}

/// The events of a stream that ends as it should.
pub(super) fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let data = |event: &str| event.strip_prefix("data: ").expect("an event of data").to_owned();
    let mut events: Vec<String> = answer.body.split_terminator("\n\n").map(data).collect();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_stream_is_byte_for_byte_what_openai_sends() {
    let server = Server::saying("hé the");
    let body = json!({
        "messages": chat("hi"), "stream": true, "stream_options": { "include_usage": true }, "temperature": 0,
    });
    let golden = r#"data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{"content":"h"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{"content":" "},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{"content":"the"},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":T,"model":"scripted","system_fingerprint":"F","choices":[],"usage":{"prompt_tokens":21,"completion_tokens":6,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":0}}}

data: [DONE]

"#;
    assert_eq!(normalised(&server.post("/v1/chat/completions", &body).await), golden);
}

#[tokio::test]
async fn a_completion_stream_holds_back_what_may_be_a_stop_text() {
    let server = Server::saying("a-b--c");
    let body = json!({ "prompt": "hi", "stream": true, "stop": "--", "logprobs": 0 });
    let golden = r#"data: {"id":"cmpl-r-1","object":"text_completion","created":T,"model":"scripted","system_fingerprint":"F","choices":[{"index":0,"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[0.0],"top_logprobs":[{"a":0.0}],"text_offset":[0]},"finish_reason":null}]}
"#;
    let answer = server.post("/v1/completions", &body).await;
    let text = normalised(&answer);
    assert_eq!(text.lines().next(), golden.lines().next());
    let events = events(&answer);
    let texts: Vec<_> = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a", "", "-b", "", "", ""]);
    let offsets: Vec<u64> =
        events.iter().filter_map(|event| event["choices"][0]["logprobs"]["text_offset"][0].as_u64()).collect();
    // The last token makes the stop text whole, which is no part of the reply.
    assert_eq!(offsets, [0, 1, 2, 3, 3]);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_stream_brings_the_text_and_usage_of_the_whole_answer() {
    let server = Server::start(&ROOMY, babbles);
    let body = json!({ "prompt": ["one", "two"], "n": 2, "seed": 5, "max_tokens": 20, "logprobs": 2 });
    let whole = server.complete(&body).await;
    let streamed = with(&body, &json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let events = events(&server.post("/v1/completions", &streamed).await);
    for index in 0..4 {
        let of_choice: Vec<&Value> = events.iter().filter_map(|event| event["choices"].get(0)).collect();
        let of_choice: Vec<&Value> = of_choice.into_iter().filter(|choice| choice["index"] == index).collect();
        let text: String = of_choice.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        let expected = &whole["choices"][index];
        assert_eq!(expected["text"], text);
        for column in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let entries: Vec<Value> =
                of_choice.iter().filter_map(|choice| choice["logprobs"][column].get(0)).cloned().collect();
            assert_eq!(expected["logprobs"][column], Value::Array(entries), "{column}");
        }
    }
    assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
}

#[tokio::test]
async fn continuous_usage_grows_with_every_chunk() {
    let server = Server::saying("hello");
    let options = json!({ "include_usage": true, "continuous_usage_stats": true, "include_obfuscation": false });
    let body = json!({ "prompt": "hi", "stream": true, "stream_options": options });
    let events = events(&server.post("/v1/completions", &body).await);
    let totals: Vec<u64> = events.iter().map(|event| event["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(totals, [1, 2, 3, 4, 5, 6, 6]);
}

#[tokio::test]
async fn without_include_usage_no_chunk_speaks_of_usage() {
    let server = Server::saying("hello");
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi", "stream": true })).await;
    assert!(events(&answer).iter().all(|event| event.get("usage").is_none() && !event["choices"][0].is_null()));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_error_event() {
    let server = Server::start_runner(&ROOMY, |spec| {
        let mut runner = ScriptedRunner::new(spec, says("hello"));
        runner.fail_on_call(2);
        runner
    });
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi", "stream": true })).await;
    let events = events(&answer);
    assert_eq!(events[0]["choices"][0]["text"], "h");
    let error = &events.last().unwrap()["error"];
    assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("server_error"), Some("internal")));
}
