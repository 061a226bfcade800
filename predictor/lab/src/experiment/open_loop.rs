//! The client that sends the load. It waits for nothing before it sends.

use std::time::{Duration, Instant};

use anyhow::Context;
use eoscast_proto::worker::v1 as pb;
use pb::generate_response::Event;
use pb::worker_service_client::WorkerServiceClient;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

/// What became of one request. Times are seconds from the first arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Served {
    /// When it was due.
    pub(crate) arrival: f64,
    /// When it was sent.
    pub(crate) sent: f64,
    /// When its first token came.
    pub(crate) first_token: f64,
    /// When its last token had come.
    pub(crate) end: f64,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u32,
    /// Tokens of the reply.
    pub(crate) output_tokens: u32,
    /// How often it lost its KV blocks.
    pub(crate) preemptions: u32,
}

/// Sends each request when it is due, whatever became of those before, and collects the replies in the order of the requests; none
/// where the worker refuses one.
///
/// # Errors
/// One failed otherwise; named.
pub(crate) async fn open_loop(
    client: &WorkerServiceClient<Channel>,
    due: Vec<(f64, pb::GenerateRequest)>,
    progress: &(dyn Fn() + Sync),
) -> anyhow::Result<Vec<Option<Served>>> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    let mut all = vec![None; due.len()];
    for (i, (arrival, request)) in due.into_iter().enumerate() {
        let client = client.clone();
        running.spawn(async move {
            tokio::time::sleep_until((start + Duration::from_secs_f64(arrival)).into()).await;
            let name = request.request_id.clone();
            match serve(client, request, start).await {
                Ok(served) => Ok((i, Some(Served { arrival, ..served }))),
                Err(status) if status.code() == Code::InvalidArgument => Ok((i, None)),
                Err(status) => Err(status).with_context(|| format!("request {name}")),
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        let (i, served) = ended??;
        all[i] = served;
        progress();
    }
    Ok(all)
}

async fn serve(
    mut client: WorkerServiceClient<Channel>,
    request: pb::GenerateRequest,
    start: Instant,
) -> Result<Served, tonic::Status> {
    let now = || start.elapsed().as_secs_f64();
    let mut served = Served { sent: now(), ..Served::default() };
    let mut stream = client.generate(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        match response.event {
            Some(Event::Chunk(chunk)) => {
                if served.first_token == 0.0 && !chunk.token_ids.is_empty() {
                    served.first_token = now();
                }
            }
            Some(Event::Complete(pb::Complete { usage, .. })) => {
                let usage = usage.unwrap_or_default();
                return Ok(Served {
                    end: now(),
                    prompt_tokens: usage.prompt_tokens,
                    output_tokens: usage.completion_tokens,
                    preemptions: usage.preemptions,
                    ..served
                });
            }
            None => return Err(tonic::Status::data_loss("a response without an event")),
        }
    }
    Err(tonic::Status::data_loss("the stream ended without a complete"))
}
