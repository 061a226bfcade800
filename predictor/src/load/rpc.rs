//! The worker's end of the stream that load goes through.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Player;
use super::report::LoadReport;

/// Messages on the way, as a worker has them.
const WINDOW: usize = 16;

/// How a load is played.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests live at a time.
    pub live: usize,
    /// Step events a second; as fast as it goes if `None`.
    pub events_per_s: Option<f64>,
    /// How long.
    pub duration: Duration,
}

/// Plays to the predictor at `uri`; `progress` is told the events sent.
///
/// # Errors
/// When the predictor cannot be reached or ends the stream.
pub async fn play(
    uri: &str,
    mut player: Player,
    pace: Pace,
    mut progress: impl FnMut(u64) + Send + 'static,
) -> anyhow::Result<LoadReport> {
    let endpoint = eoscast_proto::transport::endpoint(uri).with_context(|| format!("{uri} is not a URL"))?;
    let channel =
        endpoint.connect().await.with_context(|| format!("no predictor answers at {uri}; start serve there"))?;
    let (sender, receiver) = mpsc::channel(WINDOW);
    let mut responses =
        PredictorServiceClient::new(channel).stream_steps(ReceiverStream::new(receiver)).await?.into_inner();
    // When the estimates of each message were due to be asked for, oldest first.
    let due = Arc::new(Mutex::new(VecDeque::<Instant>::new()));
    let begun = Instant::now();
    let asked = due.clone();
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own, since the runtime's timers are a millisecond coarse.
    let sending = tokio::task::spawn_blocking(move || {
        let (mut events, mut messages) = (0u64, 0u64);
        while begun.elapsed() < pace.duration {
            let at = pace.events_per_s.map(|rate| begun + Duration::from_secs_f64(events as f64 / rate));
            let ahead = at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let due_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + ahead;
            let batch = player.step(pace.live, i64::try_from(due_at.as_micros()).unwrap_or(i64::MAX))?;
            (events, messages) = (events + batch.events.len() as u64, messages + 1);
            // A message that only ends requests is answered by none.
            let is_answered =
                !batch.started.is_empty() || batch.events.iter().any(|event| event.finish_reason.is_none());
            // Made before it is due, as an engine makes its events while it computes.
            let message = batch.into();
            if let Some(at) = at {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
            }
            let Ok(permit) = runtime.block_on(sender.reserve()) else { break };
            if is_answered {
                asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(at.unwrap_or_else(Instant::now));
            }
            permit.send(message);
            progress(events);
        }
        // Half-closes the stream: the predictor answers what is on the way and acknowledges it.
        Ok::<_, anyhow::Error>([events, messages])
    });
    let (mut latencies, mut acknowledged, mut logged) = (vec![], 0, true);
    while let Some(response) = responses.message().await.context("the predictor ended the stream")? {
        if !response.estimates.is_empty()
            && let Some(asked) = due.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        {
            latencies.push(asked.elapsed());
        }
        acknowledged = acknowledged.max(response.acknowledged_sequence_number);
        logged &= response.logged || response.acknowledged_sequence_number == 0;
    }
    let took = begun.elapsed();
    let [events, messages] = sending.await??;
    if acknowledged < messages {
        bail!("the predictor acknowledged {acknowledged} of {messages} messages only; its log says why");
    }
    Ok(LoadReport::new([events, messages], took, pace.events_per_s, latencies, logged))
}
