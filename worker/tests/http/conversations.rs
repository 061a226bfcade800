//! Conversations: histories with tools, and where the reply begins.

use serde_json::{Value, json};

use super::{Server, chat, with};

/// The rendered conversation, as text.
async fn rendered(server: &Server, body: &Value) -> String {
    let tokens = server.post("/tokenize", body).await.json()["tokens"].clone();
    server.post("/detokenize", &json!({ "tokens": tokens })).await.json()["prompt"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_history_of_calls_and_answers_is_taken() {
    let server = Server::saying("hello");
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"x\": 1}" } });
    let history = json!({ "messages": [
        { "role": "user", "content": "q", "name": null, "images": [], "audio": null },
        { "role": "assistant", "content": null, "tool_calls": [call], "refusal": null, "annotations": [] },
        { "role": "tool", "tool_call_id": "c1", "content": [{ "type": "text", "text": "a" }] },
        { "role": "assistant", "function_call": { "name": "g", "arguments": "no json" } },
        { "role": "function", "name": "g" },
        { "role": "user", "content": "and?" },
    ]});
    let text = rendered(&server, &history).await;
    let expected = "<|im_start|>user\nq<|im_end|>\n\
        <|im_start|>assistant\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\":1}}\n</tool_call><|im_end|>\n\
        <|im_start|>tool\na<|im_end|>\n\
        <|im_start|>assistant\n<tool_call>\n{\"name\": \"g\", \"arguments\": \"no json\"}\n</tool_call><|im_end|>\n\
        <|im_start|>tool\n<|im_end|>\n\
        <|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
    let answer = server.post("/v1/chat/completions", &with(&history, &json!({ "max_tokens": 4 }))).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "hell");
}

#[tokio::test]
async fn tools_that_may_not_be_called_are_taken() {
    let server = Server::saying("hello");
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    for more in [
        json!({ "tool_choice": "none" }),
        json!({ "tool_choice": "auto", "tools": [] }),
        json!({ "tool_choice": "none", "tools": [tool], "parallel_tool_calls": true }),
        json!({ "function_call": "none", "functions": [{ "name": "f" }] }),
    ] {
        server.post("/v1/chat/completions", &with(&json!({ "messages": chat("hi") }), &more)).await.json();
    }
}

#[tokio::test]
async fn the_reply_begins_where_the_client_says() {
    let server = Server::saying("hello");
    let messages = json!({ "messages": [chat("q")[0], { "role": "assistant", "content": "It is " }] });
    let turns = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nIt is ";
    for (more, end) in [
        (json!({}), "<|im_end|>\n<|im_start|>assistant\n"),
        (json!({ "add_generation_prompt": false }), "<|im_end|>\n"),
        (json!({ "continue_final_message": true }), ""),
        (json!({ "continue_final_message": true, "add_generation_prompt": false }), ""),
    ] {
        let body = with(&messages, &more);
        assert_eq!(rendered(&server, &body).await, format!("{turns}{end}"), "{more}");
        server.post("/v1/chat/completions", &body).await.json();
    }
}
