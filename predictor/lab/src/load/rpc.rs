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

/// How late messages are through this side alone.
#[derive(Debug, Default)]
struct Lateness {
    of_messages: Vec<Duration>,
}

impl Lateness {
    /// The part of a message's lateness `late` that the predictor has no part in: all of it where this side `slept` until then,
    /// and so was woken late; else, what is left of that. What the predictor held up comes on top.
    fn own(&mut self, late: Duration, slept: bool) -> Duration {
        let before = self.of_messages.last().copied().unwrap_or_default();
        let own = if slept { late } else { late.min(before) };
        self.of_messages.push(own);
        own
    }
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
    // When the estimates of each message were asked for, oldest first.
    let unanswered = Arc::new(Mutex::new(VecDeque::<Instant>::new()));
    let begun = Instant::now();
    let asked = unanswered.clone();
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own, since the runtime's timers are a millisecond coarse.
    let sending = tokio::task::spawn_blocking(move || {
        let (mut events, mut messages) = (0u64, 0u64);
        let mut lateness = Lateness::default();
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
            let at = at.map_or_else(Instant::now, |due| {
                let ahead = due.saturating_duration_since(Instant::now());
                std::thread::sleep(ahead);
                due + lateness.own(Instant::now().saturating_duration_since(due), !ahead.is_zero())
            });
            let Ok(permit) = runtime.block_on(sender.reserve()) else { break };
            if is_answered {
                asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(at);
            }
            permit.send(message);
            progress(events);
        }
        // Half-closes the stream: the predictor answers what is on the way and acknowledges it.
        Ok::<_, anyhow::Error>(([events, messages], lateness.of_messages))
    });
    let (mut latencies, mut acknowledged, mut logged) = (vec![], 0, true);
    while let Some(response) = responses.message().await.context("the predictor ended the stream")? {
        if !response.estimates.is_empty()
            && let Some(asked) = unanswered.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        {
            latencies.push(asked.elapsed());
        }
        acknowledged = acknowledged.max(response.acknowledged_sequence_number);
        logged &= response.logged || response.acknowledged_sequence_number == 0;
    }
    let took = begun.elapsed();
    let ([events, messages], late) = sending.await??;
    if acknowledged < messages {
        bail!("the predictor acknowledged {acknowledged} of {messages} messages only; its log says why");
    }
    Ok(LoadReport::new([events, messages], took, pace.events_per_s, latencies, late, logged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_awakening_is_this_sides_own_doing_and_what_the_predictor_holds_up_is_not() {
        let ms = Duration::from_millis;
        let mut lateness = Lateness::default();
        let own: Vec<Duration> = [(ms(0), true), (ms(5), true), (ms(3), false), (ms(9), false), (ms(1), true)]
            .map(|(late, slept)| lateness.own(late, slept))
            .into();
        assert_eq!(own, [ms(0), ms(5), ms(3), ms(3), ms(1)]);
    }
}
