//! A prompt that begins as another did, through the engine and a real forward pass.

use std::sync::Arc;

use super::tiny::{BLOCK_SIZE, NUM_BLOCKS, TinyModel};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use eoscast_kernels::Compute;
use eoscast_proto::domain::{Complete, ReplyEvent, RequestId, SamplingParams, WorkerRun};
use eoscast_sched::{Policy, SchedulerConfig};
use eoscast_worker::bounds::ClientKey;
use eoscast_worker::engine::handle::spawn;
use eoscast_worker::engine::{EngineConfig, EngineHandle, EngineThread, PreparedRequest};
use eoscast_worker::link::PredictorLink;
use eoscast_worker::metrics::Metrics;
use tokio_stream::StreamExt;

const PREFIX: u32 = 1000;

fn engine(dtype: GgmlDType, compute: Compute, prefix_cache: bool) -> (EngineHandle, EngineThread) {
    let model = TinyModel::new(dtype).set("llama.context_length", Value::U32(2048)).load(compute).unwrap();
    let scheduler = SchedulerConfig {
        block_size: BLOCK_SIZE as u32,
        num_blocks: NUM_BLOCKS as u32,
        max_running: 8,
        max_batched_tokens: 256,
    };
    let policy = Policy::default();
    let config = EngineConfig {
        scheduler,
        policy,
        max_waiting: 8,
        most_unread_bytes: 64 << 20,
        estimate_max_age: 8,
        prefix_cache,
        prompt_text: true,
        token_classes: true,
    };
    let link = PredictorLink::new(None, WorkerRun::for_test("w"));
    spawn(Box::new(model.runner), Arc::new(model.tokenizer), config, link, Arc::new(Metrics::new())).unwrap()
}

/// Tokens and the bits of their EOS log-probs.
async fn reply(engine: &EngineHandle, last: &[u32]) -> (Vec<u32>, Vec<u32>, Complete) {
    let prefix = (0..PREFIX).map(|index| (index * index * 7 + index) % 200 + 3);
    let request = PreparedRequest {
        request_id: RequestId::try_from("r".to_owned()).unwrap(),
        client_request_id: None,
        client: ClientKey::default(),
        prompt: prefix.chain(last.iter().copied()).collect(),
        prompt_text: None,
        sampling: SamplingParams::default(),
        max_tokens: 16,
        seed: 7,
        priority: 0,
        task: None,
        deadline: None,
        include_eos_logprob: true,
        include_estimate: false,
    };
    let mut reply = engine.submit(request).unwrap();
    let (mut tokens, mut eos_logprobs) = (Vec::new(), Vec::new());
    loop {
        match reply.next().await.unwrap().unwrap() {
            ReplyEvent::Chunk(chunk) => {
                tokens.extend(chunk.token_ids);
                eos_logprobs.extend(chunk.eos_logprobs.into_iter().map(f32::to_bits));
            }
            ReplyEvent::Complete(complete) => return (tokens, eos_logprobs, complete),
        }
    }
}

#[tokio::test]
async fn a_second_prompt_with_the_same_thousand_tokens_computes_few_and_gives_the_same_bits() {
    for (dtype, compute) in [(GgmlDType::F32, Compute::F32), (GgmlDType::Q4_1, Compute::Quantized)] {
        let (without, _thread) = engine(dtype, compute, false);
        let (with, _thread) = engine(dtype, compute, true);
        for (turn, last) in [[11, 12], [13, 14]].iter().enumerate() {
            let (tokens, eos_logprobs, whole) = reply(&without, last).await;
            let (cached_tokens, cached_eos_logprobs, complete) = reply(&with, last).await;
            assert_eq!((cached_tokens, cached_eos_logprobs), (tokens, eos_logprobs));
            assert_eq!(whole.cached_prompt_tokens, 0);
            let computed = complete.prompt_tokens - complete.cached_prompt_tokens;
            assert_eq!(computed, if turn == 0 { PREFIX + 2 } else { PREFIX % BLOCK_SIZE as u32 + 2 });
        }
    }
}
