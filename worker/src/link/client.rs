//! The connection to the predictor: its own channel, one stream, reconnected for as long as the worker lives.

use std::sync::Arc;
use std::time::Duration;

use eoscast_proto::domain::StepsReply;
use eoscast_proto::predictor::v1::StreamStepsResponse;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::state::LinkState;

const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);
/// How long a shutdown waits for the last acknowledgements.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
const FLUSH_POLL: Duration = Duration::from_millis(5);
/// Batches between our task and the HTTP/2 connection; more only hides how far the predictor is behind.
const SEND_BUFFER_BATCHES: usize = 16;

/// Connects, streams and reconnects until `shutdown`.
pub(super) async fn run(link: Arc<LinkState>, endpoint: Endpoint, shutdown: CancellationToken) {
    let mut retry = MIN_RETRY_DELAY;
    let mut outage_logged = false;
    while !shutdown.is_cancelled() {
        let ended = stream(&link, &endpoint, &shutdown).await;
        let was_connected = link.on_disconnected();
        if was_connected {
            retry = MIN_RETRY_DELAY;
            outage_logged = false;
        }
        if let Err(status) = ended
            && !std::mem::replace(&mut outage_logged, true)
        {
            let endpoint = endpoint.uri();
            warn!(%endpoint, reason = status.message(), "no stream to the predictor: scheduling by fallback, retrying");
        }
        tokio::select! {
            () = tokio::time::sleep(retry) => retry = (retry * 2).min(MAX_RETRY_DELAY),
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
                return;
            }
        }
    };
    let receive = async {
        while let Some(response) = responses.message().await? {
            take_in(link, response)?;
        }
        Err(Status::unavailable("the predictor closed the stream"))
    };
    tokio::select! {
        () = send => Err(Status::unavailable("the connection closed")),
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
    link.outbox().on_acknowledged(reply.acknowledged);
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
