//! The connection to the predictor: its own channel, one stream, reconnected for as long as the worker lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eoscast_proto::domain::StepsReply;
use eoscast_proto::predictor::v1::StreamStepsResponse;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use eoscast_proto::status::{ServiceError, next_epoch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::backoff::{Backoff, StreamEnd};
use super::state::LinkState;

/// How long a shutdown waits for the last acknowledgements.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
const FLUSH_POLL: Duration = Duration::from_millis(5);
/// Batches between our task and the HTTP/2 connection; more only hides how far the predictor is behind.
const SEND_BUFFER_BATCHES: usize = 16;

/// Connects, streams and reconnects until `shutdown`.
pub(super) async fn run(link: Arc<LinkState>, endpoint: Endpoint, shutdown: CancellationToken) {
    let mut backoff = Backoff::new();
    let mut outage_logged = false;
    while !shutdown.is_cancelled() {
        let (begun, acknowledged) = (Instant::now(), link.outbox().progress().1);
        let ended = stream(&link, &endpoint, &shutdown).await;
        link.on_disconnected();
        let mut end = StreamEnd::Useless;
        if link.outbox().progress().1 > acknowledged {
            end = StreamEnd::Acknowledged;
            outage_logged = false;
        }
        if let Err(status) = ended {
            let endpoint = endpoint.uri();
            if let Some(epoch) = next_epoch(&status) {
                end = StreamEnd::Conflict;
                link.outbox().take_epoch(epoch);
                warn!(
                    %endpoint,
                    reason = status.message(),
                    epoch,
                    "the predictor asked for another epoch, which the link takes; if this goes on, another process has the same \
                     --worker-id"
                );
            } else if !std::mem::replace(&mut outage_logged, true) {
                let reason = status.message();
                warn!(%endpoint, code = ?status.code(), reason, "no stream to the predictor: scheduling by fallback, retrying");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.after(end, begun.elapsed())) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// One connection, until it breaks, or everything is delivered after `shutdown`.
async fn stream(link: &LinkState, endpoint: &Endpoint, shutdown: &CancellationToken) -> Result<(), Status> {
    let (sender, receiver) = mpsc::channel(SEND_BUFFER_BATCHES);
    let open = async {
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(chain(&error)))?;
        PredictorServiceClient::new(channel).stream_steps(ReceiverStream::new(receiver)).await
    };
    let Some(opened) = shutdown.run_until_cancelled(open).await else { return Ok(()) };
    let mut responses = opened?.into_inner();
    link.on_connected();
    info!(endpoint = %endpoint.uri(), "stream to the predictor open");

    let send = async {
        loop {
            let next = link.outbox().next_to_send();
            let Some(batch) = next else {
                link.may_send.notified().await;
                continue;
            };
            if sender.send(batch.into()).await.is_err() {
                break;
            }
        }
        // The stream is over. Only its answer says why, with the epoch that the predictor may ask for.
        std::future::pending().await
    };
    let receive = async {
        while let Some(response) = responses.message().await? {
            take_in(link, response)?;
        }
        Err(Status::unavailable("the predictor closed the stream"))
    };
    tokio::select! {
        ended = send => ended,
        ended = receive => ended,
        () = delivered(link, shutdown) => Ok(()),
    }
}

/// Resolves when, after `shutdown`, everything is acknowledged or the time for it is over.
async fn delivered(link: &LinkState, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    let acknowledged = async {
        while !link.outbox().is_empty() {
            tokio::time::sleep(FLUSH_POLL).await;
        }
    };
    if tokio::time::timeout(FLUSH_DEADLINE, acknowledged).await.is_err() {
        warn!("the predictor did not acknowledge the last steps in time");
    }
}

fn take_in(link: &LinkState, response: StreamStepsResponse) -> Result<(), Status> {
    let reply = StepsReply::try_from(response)
        .map_err(|violation| Status::internal(format!("the predictor sent an invalid reply: {violation}")))?;
    link.outbox().on_acknowledged(reply.acknowledged).map_err(|next_epoch| {
        let message = "the predictor acknowledged what this worker never sent".to_owned();
        Status::from(ServiceError::EpochOver { message, next_epoch })
    })?;
    // The window may have opened.
    link.may_send.notify_one();
    let mut estimates = link.estimates();
    if let Some(prior) = &reply.prior {
        estimates.set_prior(prior);
    }
    for estimate in reply.estimates {
        estimates.update(estimate);
    }
    Ok(())
}

/// An error with its causes: tonic's own text alone says only `transport error`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
