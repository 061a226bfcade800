//! Replies to many prompts, written as an event log.
//!
//! # Layout
//! - [`requests`]: what the engine is asked for them
//! - `scored`: the same of replies that are given, not generated
//! - `recorder`: from step batches to the lines of finished requests
//! - [`folder`]: the folder they go to, and how one is continued
//! - here: keeps the engine busy and brings the two together

pub mod folder;
mod recorder;
pub mod requests;
pub(crate) mod scored;

use std::collections::HashMap;

use anyhow::{Context, bail};
use eoscast_log::record::RequestLine;
use eoscast_proto::domain::{FinishReason, ReplyEvent, RequestId, StepBatch};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::engine::{EngineHandle, PreparedRequest, ReplyStream};
use folder::Folder;

/// Runs `requests` through `engine`, at most `concurrency` at a time, and writes each one's lines to `folder` when it has finished.
/// `batches` is the other end of the engine's [local link](crate::link::PredictorLink::local). `progress` gets what each step
/// brought. After `stop` nothing more is written.
///
/// # Errors
/// A request fails or cannot be submitted, or the folder cannot be written. What was written before is whole.
pub async fn collect(
    engine: &EngineHandle,
    mut batches: UnboundedReceiver<StepBatch>,
    requests: impl IntoIterator<Item = PreparedRequest>,
    concurrency: usize,
    folder: &mut Folder,
    stop: &CancellationToken,
    progress: &mut dyn FnMut(StepProgress<'_>),
) -> anyhow::Result<()> {
    let mut requests = requests.into_iter();
    let mut running: HashMap<RequestId, ReplyStream> = HashMap::new();
    loop {
        while running.len() < concurrency
            && let Some(request) = requests.next()
        {
            let reply = engine.submit(request)?;
            // The link's batches bring the tokens.
            reply.skip_chunks();
            running.insert(reply.request_id.clone(), reply);
        }
        if running.is_empty() {
            return Ok(());
        }
        let batch = tokio::select! {
            batch = batches.recv() => batch.context("the engine stopped before all replies ended")?,
            () = stop.cancelled() => return Ok(()),
        };
        if let Some(ended) = batch.ended.first() {
            let reply = running.remove(&ended.request_id);
            bail!("request {}: {}", ended.request_id, reason(reply, ended.finish_reason).await);
        }
        let tokens = batch.events.len();
        let finished = folder.take_in(batch)?;
        for outcome in &finished {
            running.remove(&outcome.request_id);
        }
        progress(StepProgress { tokens, finished: &finished });
    }
}

/// What one step brought.
#[derive(Debug, Clone, Copy)]
pub struct StepProgress<'a> {
    /// Tokens of all requests.
    pub tokens: usize,
    /// Outcomes of the requests that finished.
    pub finished: &'a [RequestLine],
}

/// Why a request ended without a last token.
async fn reason(reply: Option<ReplyStream>, finish_reason: FinishReason) -> String {
    if let Some(mut reply) = reply {
        while let Some(event) = reply.next().await {
            match event {
                Ok(ReplyEvent::Chunk(_)) => {}
                Ok(ReplyEvent::Complete(_)) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
    format!("ended by {}", finish_reason.as_str())
}
