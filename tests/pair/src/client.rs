//! Replies collected over gRPC.

use eoscast_proto::predictor::v1::LengthEstimate;
use eoscast_proto::worker::v1 as pb;
use pb::generate_request::Input;
use pb::generate_response::Event;
use pb::worker_service_client::WorkerServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A whole reply.
#[derive(Debug, Clone, Default)]
pub struct GeneratedReply {
    /// Its text.
    pub text: String,
    /// Its tokens, EOS included.
    pub tokens: Vec<u32>,
    /// The EOS log-probability of each token, if asked for.
    pub eos_logprobs: Vec<f32>,
    /// The estimate that came with each chunk, if asked for and there was one.
    pub estimates: Vec<Option<LengthEstimate>>,
    /// How it ended.
    pub complete: pb::Complete,
}

/// A chat of one user message that reports everything.
pub fn chat(request_id: &str, prompt: &str, seed: u64, max_tokens: u32) -> pb::GenerateRequest {
    let message = pb::ChatMessage { role: "user".into(), content: prompt.into() };
    pb::GenerateRequest {
        request_id: request_id.into(),
        input: Some(Input::Chat(pb::ChatInput { messages: vec![message] })),
        sampling_params: Some(pb::SamplingParams {
            temperature: Some(0.8),
            seed: Some(seed),
            max_tokens: Some(max_tokens),
            ..Default::default()
        }),
        include_eos_logprob: true,
        include_estimate: true,
        ..Default::default()
    }
}

/// Sends a request and collects its reply.
///
/// # Errors
/// The status with which the call failed.
pub async fn generate(
    mut client: WorkerServiceClient<Channel>,
    request: impl tonic::IntoRequest<pb::GenerateRequest>,
) -> Result<GeneratedReply, Status> {
    let mut stream = client.generate(request).await?.into_inner();
    let mut reply = GeneratedReply::default();
    while let Some(response) = stream.message().await? {
        match response.event {
            Some(Event::Chunk(chunk)) => {
                reply.text.push_str(&chunk.text);
                reply.tokens.extend(chunk.token_ids);
                reply.eos_logprobs.extend(chunk.eos_logprobs);
                reply.estimates.push(chunk.estimate);
            }
            Some(Event::Complete(complete)) => {
                reply.complete = complete;
                return Ok(reply);
            }
            None => return Err(Status::new(Code::DataLoss, "a response without an event")),
        }
    }
    Err(Status::new(Code::DataLoss, "the stream ended without a complete"))
}
