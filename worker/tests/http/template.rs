//! Chat templates of the model, good and faulty.

use axum::http::StatusCode;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Metadata;
use eoscast_proto::domain::{ChatMessage, Conversation, GenerateSpec, Input, SamplingParams};
use eoscast_proto::status::ServiceError;
use eoscast_worker::engine::RequestPreparer;
use eoscast_worker::runner::ScriptedRunner;
use serde_json::json;

use super::support::ROOMY;
use super::tiny::TinyModel;
use super::{Server, chat, says};

fn model(template: &str) -> TinyModel {
    TinyModel::new(GgmlDType::F32).set("tokenizer.chat_template", Metadata::String(template.to_owned()))
}

fn server(template: &str) -> Server {
    Server::with_texts(&model(template), &ROOMY, usize::MAX, |spec| ScriptedRunner::new(spec, says("hello")))
}

#[tokio::test]
async fn a_faulty_template_costs_the_chat_only() {
    for (template, reason) in [
        ("a\n{% for %}", "line 2"),
        ("{% nonsense %}", "unknown statement nonsense"),
        ("{{ messages[0].content.nonsense() }}", "nonsense"),
        ("{{ '%d' % messages[0].content }}", "line 1"),
    ] {
        let server = server(template);
        let answer = server.post("/v1/chat/completions", &json!({ "messages": chat("hi") })).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{template}: {}", answer.body);
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("chat template") && message.contains(reason), "{template}: {message}");
        assert_eq!(server.complete(&json!({ "prompt": "hi" })).await["choices"][0]["text"], "hello");
    }
}

#[tokio::test]
async fn a_template_in_the_dialect_of_transformers_is_rendered() {
    let template = "{% for m in messages %}{{ '<|im_start|>%s\n' % m.role }}{% generation %}{{ m.content }}{% endgeneration %}\
        {{ {'é': 1}|tojson(ensure_ascii=False) }}{% endfor %}";
    let body = json!({ "messages": chat("hi") });
    let answer = server(template).post("/tokenize", &body).await.json();
    let prompt = server(template).post("/detokenize", &json!({ "tokens": answer["tokens"] })).await.json();
    assert_eq!(prompt["prompt"], "<|im_start|>user\nhi{\"é\": 1}");
}

#[test]
fn over_grpc_a_faulty_template_is_an_invalid_argument() {
    let loaded = model("{% for %}").load(eoscast_kernels::Compute::F32).unwrap();
    let spec = eoscast_worker::runner::ModelRunner::spec(&loaded.runner).clone();
    let preparer = RequestPreparer::new(loaded.tokenizer.into(), loaded.chat_template, &spec);
    let prepare = |input| {
        let spec = GenerateSpec {
            request_id: None,
            input,
            sampling: SamplingParams::default(),
            priority: 0,
            task: None,
            include_eos_logprob: false,
            include_estimate: false,
        };
        preparer.prepare(spec, None)
    };
    let chat = Input::Chat(Conversation::new(vec![ChatMessage::new("user".to_owned(), "hi".to_owned()).unwrap()]));
    let Err(ServiceError::InvalidArgument(violation)) = prepare(chat) else { panic!("not refused so") };
    assert_eq!(violation.field, "chat.messages");
    assert!(violation.description.contains("line 1"), "{}", violation.description);
    assert!(prepare(Input::Text("hi".to_owned())).is_ok());
}
