//! An engine over a scripted model, for tests of what stands on it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eoscast_model::text::Vocabulary;
use eoscast_proto::domain::WorkerRun;
use eoscast_sched::SchedulerConfig;
use eoscast_worker::engine::handle::spawn;
use eoscast_worker::engine::{EngineConfig, EngineHandle, EngineThread};
use eoscast_worker::link::PredictorLink;
use eoscast_worker::metrics::Metrics;
use eoscast_worker::runner::scripted::peaked_logits;
use eoscast_worker::runner::{ModelSpec, ScriptedRunner};

pub(crate) const VOCAB: usize = 128;
pub(crate) const EOS: u32 = 0;

/// Token n is the character with code n.
struct Ascii(Vec<u8>);

impl Vocabulary for Ascii {
    fn token_bytes(&self, id: u32) -> &[u8] {
        if id == EOS { &[] } else { &self.0[id as usize..=id as usize] }
    }
}

pub(crate) struct Setup {
    pub(crate) num_blocks: usize,
    pub(crate) policy: &'static str,
    pub(crate) max_waiting: usize,
    pub(crate) max_running: u32,
    pub(crate) prefix_cache: bool,
    pub(crate) most_unread_bytes: usize,
}

pub(crate) const ROOMY: Setup = Setup {
    num_blocks: 1024,
    policy: "fcfs+aggressive+lifo",
    max_waiting: 64,
    max_running: 16,
    prefix_cache: true,
    most_unread_bytes: 64 << 20,
};

impl Setup {
    pub(crate) fn start(
        &self,
        script: impl FnMut(&[u32]) -> Vec<f32> + Send + 'static,
    ) -> (EngineHandle, EngineThread) {
        self.start_runner(|spec| ScriptedRunner::new(spec, script))
    }

    pub(crate) fn start_runner(
        &self,
        runner: impl FnOnce(ModelSpec) -> ScriptedRunner,
    ) -> (EngineHandle, EngineThread) {
        let ascii = Arc::new(Ascii((0..VOCAB as u8).collect()));
        self.start_model(ascii, VOCAB, &[EOS], runner)
    }

    pub(crate) fn start_model(
        &self,
        vocabulary: Arc<dyn Vocabulary>,
        vocab_size: usize,
        eos_token_ids: &[u32],
        runner: impl FnOnce(ModelSpec) -> ScriptedRunner,
    ) -> (EngineHandle, EngineThread) {
        let spec = ModelSpec {
            name: "scripted".into(),
            architecture: "scripted".into(),
            vocab_size,
            context_length: 4096,
            eos_token_ids: eos_token_ids.into(),
            parameters: 0,
            quantization: "none".into(),
            block_size: 4,
            num_blocks: self.num_blocks,
        };
        let config = EngineConfig {
            scheduler: SchedulerConfig {
                block_size: 4,
                num_blocks: self.num_blocks as u32,
                max_running: self.max_running,
                max_batched_tokens: 32,
            },
            policy: self.policy.parse().unwrap(),
            max_waiting: self.max_waiting,
            most_unread_bytes: self.most_unread_bytes,
            estimate_max_age: 8,
            prefix_cache: self.prefix_cache,
            prompt_text: true,
            token_classes: true,
        };
        let run = WorkerRun::for_test("w");
        // Nothing is sent there: the link only takes down what it is told.
        let link = PredictorLink::new(Some("http://127.0.0.1:9".to_owned()), run);
        spawn(Box::new(runner(spec)), vocabulary, config, link, Arc::new(Metrics::new())).unwrap()
    }
}

/// Says `reply` after any prompt of `prompt_length` tokens, then EOS.
pub(crate) fn says(prompt_length: usize, reply: &'static str) -> impl FnMut(&[u32]) -> Vec<f32> + Send + 'static {
    move |tokens| {
        let next = reply.as_bytes().get(tokens.len() - prompt_length);
        peaked_logits(VOCAB, next.map_or(EOS, |byte| u32::from(*byte)))
    }
}

/// A script that waits for a permission before each row, and the sender of permissions.
pub(crate) fn stepwise(
    mut script: impl FnMut(&[u32]) -> Vec<f32> + Send + 'static,
) -> (Sender<()>, impl FnMut(&[u32]) -> Vec<f32> + Send) {
    let (allow, allowed): (Sender<()>, Receiver<()>) = mpsc::channel();
    let allowed = Mutex::new(allowed);
    (allow, move |tokens: &[u32]| {
        let _ = allowed.lock().unwrap().recv();
        script(tokens)
    })
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
