//! OpenAI's API over a scripted model with a real tokenizer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod bounds;
mod characters;
mod conversations;
mod disconnect;
mod echo;
mod errors;
mod fields;
mod forecast;
mod fuzz;
mod load_report;
mod openapi;
mod serving;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod template;
#[path = "../model/tiny.rs"]
#[allow(dead_code, reason = "the tests of model files use the rest")]
mod tiny;
mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use candle_core::quantized::GgmlDType;
use eoscast_kernels::Compute;
use eoscast_model::text::Tokenizer;
use eoscast_worker::engine::{EngineHandle, EngineThread, RequestPreparer};
use eoscast_worker::http::{self, HttpOptions};
use eoscast_worker::runner::load::LoadedRunner;
use eoscast_worker::runner::scripted::peaked_logits;
use eoscast_worker::runner::{ModelSpec, ScriptedRunner};
use serde_json::{Value, json};
use support::{ROOMY, Setup};
use tower::ServiceExt;

/// The routes over an engine, without a socket.
struct Server {
    router: Router,
    engine: EngineHandle,
    preparer: Arc<RequestPreparer>,
    _thread: EngineThread,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Server {
    /// A model that answers every prompt with `reply`.
    fn saying(reply: &str) -> Self {
        Self::start(&ROOMY, says(reply))
    }

    fn start(setup: &Setup, script: impl FnMut(&[u32]) -> Vec<f32> + Send + 'static) -> Self {
        Self::start_runner(setup, |spec| ScriptedRunner::new(spec, script))
    }

    fn start_runner(setup: &Setup, runner: impl FnOnce(ModelSpec) -> ScriptedRunner) -> Self {
        Self::with_texts(&tiny::TinyModel::new(GgmlDType::F32), setup, usize::MAX, runner)
    }

    /// With at most so many tokens of a prompt and its reply.
    fn capped(setup: &Setup, most: usize, runner: impl FnOnce(ModelSpec) -> ScriptedRunner) -> Self {
        Self::with_texts(&tiny::TinyModel::new(GgmlDType::F32), setup, most, runner)
    }

    /// With the tokenizer and the chat template of `model`.
    fn with_texts(
        model: &tiny::TinyModel,
        setup: &Setup,
        most_tokens: usize,
        runner: impl FnOnce(ModelSpec) -> ScriptedRunner,
    ) -> Self {
        let LoadedRunner { tokenizer, chat_template, .. } = model.load(Compute::F32).unwrap();
        let tokenizer = Arc::new(tokenizer);
        let (size, eos) = (tokenizer.vocab_size(), tokenizer.eos_token_ids().to_vec());
        let (engine, thread) = setup.start_model(Arc::clone(&tokenizer) as _, size, &eos, runner);
        let preparer = RequestPreparer::new(tokenizer, chat_template, engine.model()).with_max_model_len(most_tokens);
        let preparer = Arc::new(preparer);
        let router = http::router(engine.clone(), Arc::clone(&preparer), HttpOptions::default());
        Self { router, engine, preparer, _thread: thread }
    }

    /// The same with other options.
    fn with_options(self, options: HttpOptions) -> Self {
        Self { router: http::router(self.engine.clone(), Arc::clone(&self.preparer), options), ..self }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone(), request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(post(path, body.to_string())).await
    }

    async fn complete(&self, body: &Value) -> Value {
        self.post("/v1/completions", body).await.json()
    }
}

impl Answer {
    async fn of(router: Router, request: Request<Body>) -> Self {
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// The body of a call that worked.
    fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// The error object of a call that did not.
    fn error(&self) -> Value {
        assert!(!self.status.is_success(), "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no json: {}", self.body));
        body["error"].clone()
    }
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

fn tokenizer() -> Tokenizer {
    tiny::TinyModel::new(GgmlDType::F32).load(Compute::F32).unwrap().tokenizer
}

/// Says `reply` once, whatever the prompt: the first text it sees of a sequence is its prompt.
fn says(reply: &str) -> impl FnMut(&[u32]) -> Vec<f32> + Send + 'static {
    let tokenizer = tokenizer();
    let tokens: Vec<u32> = tokenizer.encode(reply).unwrap();
    let (size, eos) = (tokenizer.vocab_size(), tokenizer.eos_token_ids()[0]);
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    move |so_far| {
        let prompt = prompts.iter().find(|prompt| so_far.starts_with(prompt));
        let said = prompt.map_or(0, |prompt| so_far.len() - prompt.len());
        if prompt.is_none() {
            prompts.push(so_far.to_vec());
        }
        peaked_logits(size, tokens.get(said).copied().unwrap_or(eos))
    }
}

/// Logits that depend on everything before, flat enough that seeds matter, and never an end.
fn babbles(so_far: &[u32]) -> Vec<f32> {
    let mut state = so_far.iter().fold(11u64, |h, t| (h ^ u64::from(*t)).wrapping_mul(0x0100_0000_01b3));
    let mut logits: Vec<f32> = (0..tokenizer_size())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 * 3.0
        })
        .collect();
    logits[..3].fill(f32::NEG_INFINITY);
    logits
}

/// Entries of the tiny model's vocabulary: 3 control tokens, 256 bytes, 3 merged tokens.
const fn tokenizer_size() -> usize {
    262
}

fn chat(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

/// `base` with the fields of `more`.
fn with(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    for (name, value) in more.as_object().unwrap() {
        merged[name] = value.clone();
    }
    merged
}
