//! The requests that `bench` sends, and how their replies are timed.

use std::time::Instant;

use anyhow::ensure;
use eoscast_proto::domain::{Complete, ReplyEvent, RequestId, SamplingParams};
use tokio_stream::StreamExt;

use crate::bounds::ClientKey;
use crate::engine::{PreparedRequest, ReplyStream};

/// A request of so many random tokens, and a reply of so many.
pub(super) fn request(
    [prompt_tokens, output_tokens]: [u32; 2],
    seed: u64,
    vocab_size: u64,
) -> anyhow::Result<PreparedRequest> {
    // A multiplicative congruential step spreads consecutive seeds over the vocabulary.
    let token = |i: u64| ((seed * 1_000_003 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % vocab_size;
    Ok(PreparedRequest {
        request_id: RequestId::try_from(format!("bench-{seed}-{prompt_tokens}"))?,
        client_request_id: None,
        client: ClientKey::default(),
        // Below the vocabulary's size, which is a u32's.
        prompt: (0..u64::from(prompt_tokens)).map(|i| token(i) as u32).collect(),
        prompt_text: None,
        sampling: SamplingParams { ignore_eos: true, ..Default::default() },
        max_tokens: output_tokens,
        seed,
        priority: 0,
        task: None,
        deadline: None,
        include_eos_logprob: false,
        include_estimate: false,
    })
}

/// When each token of a reply arrived.
pub(super) async fn arrivals(mut reply: ReplyStream) -> anyhow::Result<Vec<Instant>> {
    let mut times = Vec::new();
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Chunk(_) => times.push(Instant::now()),
            ReplyEvent::Complete(Complete { completion_tokens, .. }) => {
                ensure!(times.len() == completion_tokens as usize, "a reply lost tokens");
            }
        }
    }
    Ok(times)
}
