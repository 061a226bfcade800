//! `StreamSteps`: reads messages as they come, sends answers and acknowledgements as the worker takes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eoscast_proto::codec;
use eoscast_proto::domain::{StepBatch, StepsReply};
use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::status::{FieldViolation, ServiceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::common::{Responses, invalid};
use crate::pipeline::{Account, Answer, Pipeline, Progress, StreamAnswers, StreamSteps};
use crate::recovery::{epoch_now, latest_epoch};

/// An acknowledgement waits this long for estimates to travel with: most often for the next steps. To send it alone wakes the
/// worker's machine and this one, which costs more than what is then done.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(250);
/// Responses ready for the connection, and the estimates in them.
const READY_RESPONSES: usize = 64;
const READY_ESTIMATES: usize = 16_384;

/// Serves one stream until it ends, or until `shutdown`.
pub(super) fn serve(
    pipeline: &Arc<Pipeline>,
    incoming: Streaming<pb::StreamStepsRequest>,
    shutdown: &CancellationToken,
) -> Responses<pb::StreamStepsResponse> {
    let (steps, answers) = pipeline.open_stream();
    let account = answers.account.clone();
    let (responses, ready) = mpsc::channel(READY_RESPONSES);
    let ended = shutdown.child_token();
    tokio::spawn(read_steps(incoming, steps, ended.clone(), account.clone()));
    let (sender_account, shutdown) = (account.clone(), shutdown.clone());
    tokio::spawn(async move {
        let _reader_ends_too = ended.drop_guard();
        // What a stream that is cut still had to send is dropped here.
        sender_account.unless_cut(send_answers(answers, responses, &shutdown)).await;
    });
    let taken = account.clone();
    let responses = ReceiverStream::new(ready).map(move |Ready { reply, weight, .. }| {
        // The connection takes it now: only then is it out of our memory.
        taken.release(weight);
        Ok(reply.into())
    });
    let end = std::iter::from_fn(move || account.error().map(|error| Err(Status::from(error)))).take(1);
    Box::pin(responses.chain(tokio_stream::iter(end)))
}

/// Reads for as long as the stream lives, so that nothing piles up in the connection, but while too much of it waits for the log. A bad
/// message ends the stream.
async fn read_steps(
    mut incoming: Streaming<pb::StreamStepsRequest>,
    steps: StreamSteps,
    ended: CancellationToken,
    account: Arc<Account>,
) {
    let read = async {
        while let Some(message) = incoming.message().await? {
            let received = Instant::now();
            if !steps.send(&parse(message)?, received) {
                steps.room(&account).await;
            }
        }
        Ok::<_, ReadError>(())
    };
    let read = account.unless_cut(ended.run_until_cancelled(read)).await.flatten();
    if let Some(Err(ReadError(error))) = read {
        tracing::debug!(%error, "stream ended");
        steps.fail(error);
    }
}

struct ReadError(ServiceError);

impl From<ServiceError> for ReadError {
    fn from(error: ServiceError) -> Self {
        Self(error)
    }
}

impl From<Status> for ReadError {
    fn from(status: Status) -> Self {
        Self(codec::mistake(&status).unwrap_or_else(|| match status.code() {
            // What tonic says of messages that are too large, or packed in a way that is not spoken here.
            Code::OutOfRange | Code::ResourceExhausted | Code::Unimplemented => {
                FieldViolation::new("message", format!("{}; send several messages", status.message())).into()
            }
            // The connection has gone; the worker will be back.
            _ => ServiceError::Unavailable(format!("the stream broke: {}", status.message())),
        }))
    }
}

fn parse(message: pb::StreamStepsRequest) -> Result<StepBatch, ServiceError> {
    let most = StepBatch::MOST_ENTRIES;
    for (field, entries) in
        [("started", message.started.len()), ("events", message.events.len()), ("ended", message.ended.len())]
    {
        if entries > most {
            return Err(invalid(field, format!("must be at most {most}, got {entries}; send several messages")));
        }
    }
    let batch = StepBatch::try_from(message)?;
    if batch.run.epoch > latest_epoch() {
        let message = format!("epoch {} of worker {} lies in the future", batch.run.epoch, batch.run.worker_id);
        // Asks the worker to use the present time as its epoch.
        return Err(ServiceError::EpochOver { message, next_epoch: epoch_now().max(1) });
    }
    Ok(batch)
}

/// Sends answers as they come and acknowledgements with them, or alone shortly after a write. When the stream is over it waits
/// until everything of it is written and acknowledged.
async fn send_answers(
    StreamAnswers { mut answers, mut progress, account }: StreamAnswers,
    responses: mpsc::Sender<Ready>,
    shutdown: &CancellationToken,
) {
    let mut out =
        Acknowledger { responses, room: Arc::new(Semaphore::new(READY_ESTIMATES)), sent: Progress::default() };
    let mut due = None;
    let mut all_written = false;
    let error = loop {
        tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(Ok(answer)) => {
                    due = Some(tokio::time::Instant::now() + ACKNOWLEDGE_WITHIN);
                    let written = *progress.borrow_and_update();
                    if out.send(written, answer).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            },
            () = sleep_until(due), if due.is_some() => {
                due = None;
                let written = *progress.borrow_and_update();
                if written != out.sent && out.acknowledge(written).await.is_err() {
                    return;
                }
            }
            changed = progress.changed(), if due.is_none() && !all_written => match changed {
                Ok(()) => due = Some(tokio::time::Instant::now() + ACKNOWLEDGE_WITHIN),
                Err(_) => all_written = true,
            },
            () = out.responses.closed() => return,
        }
    };
    while progress.changed().await.is_ok() {}
    let written = *progress.borrow();
    if written != out.sent && out.acknowledge(written).await.is_err() {
        return;
    }
    if let Some(error) = error {
        account.fail(error);
    } else if shutdown.is_cancelled() {
        account.fail(ServiceError::Unavailable("the predictor is shutting down".into()));
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The caller has gone.
struct Gone;

/// A response that waits for the connection.
struct Ready {
    reply: StepsReply,
    /// Weight of all messages that it acknowledges.
    weight: u64,
    _room: OwnedSemaphorePermit,
}

struct Acknowledger {
    responses: mpsc::Sender<Ready>,
    /// For estimates that wait for the connection.
    room: Arc<Semaphore>,
    sent: Progress,
}

impl Acknowledger {
    async fn acknowledge(&mut self, written: Progress) -> Result<(), Gone> {
        self.send(written, Answer { estimates: vec![], prior: None }).await
    }

    /// Sends `answer` with the acknowledgement of what is `written`.
    async fn send(&mut self, written: Progress, answer: Answer) -> Result<(), Gone> {
        let permits = answer.estimates.len().min(READY_ESTIMATES);
        // Never closed; at most as many as there are.
        let room = self.room.clone().acquire_many_owned(permits as u32);
        let room = tokio::select! {
            room = room => room.map_err(|_| Gone)?,
            () = self.responses.closed() => return Err(Gone),
        };
        let Answer { estimates, prior } = answer;
        let reply = StepsReply { acknowledged: written.acknowledged, logged: written.logged, estimates, prior };
        self.responses.send(Ready { reply, weight: written.weight, _room: room }).await.map_err(|_| Gone)?;
        self.sent = written;
        Ok(())
    }
}
