//! The gRPC service. Generated types are named here and nowhere else in this crate.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{RequestId, RequestState, StepBatch, StepsReply, WorkerId};
use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::predictor::v1::predictor_service_server::{PredictorService, PredictorServiceServer};
use eoscast_proto::status::{FieldViolation, ServiceError};
use eoscast_proto::transport::MAX_MESSAGE_BYTES;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::accuracy::{AgeCoverage, ModelAccuracy};
use crate::pipeline::{Pipeline, Progress, StreamAnswers, StreamSteps, weight};
use crate::retraining::decision::Decision;
use crate::tracker::RequestKey;
use eoscast_forecast::age::AGES;
use eoscast_forecast::features::{FEATURE_NAMES, FEATURE_VERSION};
use eoscast_forecast::files::ArtifactSource;

/// Most entries of each kind in one message.
const MOST_ENTRIES: usize = 4_096;
/// An acknowledgement waits this long for estimates to travel with: most often for the next steps. To send it alone wakes the
/// worker's machine and this one, which costs more than what is then done.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(250);
/// Responses ready for the connection.
const READY_RESPONSES: usize = 64;

const LARGEST_PAGE: usize = 1_000;
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
const SHORTEST_WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// The name of the service in health checks.
pub const SERVICE_NAME: &str = "eoscast.predictor.v1.PredictorService";

/// Answers calls from the pipeline.
#[derive(Clone)]
pub struct Rpc {
    pipeline: Arc<Pipeline>,
    /// Of the start; what `ReloadModel` loads when it names none.
    artifact: Option<ArtifactSource>,
    retrained: watch::Receiver<Option<Decision>>,
    shutdown: CancellationToken,
}

/// A server-side stream of messages.
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Rpc {
    /// Streams end when `shutdown` is cancelled.
    pub fn new(
        pipeline: Arc<Pipeline>,
        artifact: Option<ArtifactSource>,
        retrained: watch::Receiver<Option<Decision>>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { pipeline, artifact, retrained, shutdown }
    }

    /// For a tonic server.
    pub fn into_service(self) -> PredictorServiceServer<Self> {
        PredictorServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl PredictorService for Rpc {
    type StreamStepsStream = Responses<pb::StreamStepsResponse>;
    type WatchRequestsStream = Responses<pb::WatchRequestsResponse>;

    async fn stream_steps(
        &self,
        request: Request<Streaming<pb::StreamStepsRequest>>,
    ) -> Result<Response<Self::StreamStepsStream>, Status> {
        let (steps, answers, permits) = self.pipeline.open_stream();
        let (responses, ready) = mpsc::channel(READY_RESPONSES);
        let ended = self.shutdown.child_token();
        tokio::spawn(read_steps(request.into_inner(), steps, permits.clone(), ended.clone()));
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let _reader_ends_too = ended.drop_guard();
            send_answers(answers, responses, &permits, &shutdown).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(ready))))
    }

    async fn get_estimate(
        &self,
        request: Request<pb::GetEstimateRequest>,
    ) -> Result<Response<pb::GetEstimateResponse>, Status> {
        let request = request.into_inner();
        let request_id = RequestId::try_from(request.request_id).map_err(ServiceError::from)?;
        let worker_id = optional_worker(request.worker_id)?;
        let state = self.pipeline.ask(|tracker| tracker.request(worker_id.as_ref(), &request_id))?;
        Ok(Response::new(pb::GetEstimateResponse { request: Some(state.into()) }))
    }

    async fn list_requests(
        &self,
        request: Request<pb::ListRequestsRequest>,
    ) -> Result<Response<pb::ListRequestsResponse>, Status> {
        let request = request.into_inner();
        let worker_id = optional_worker(request.worker_id)?;
        let size = match request.page_size as usize {
            0 => LARGEST_PAGE,
            size if size <= LARGEST_PAGE => size,
            size => return Err(invalid("page_size", format!("must be at most {LARGEST_PAGE}, got {size}")).into()),
        };
        let after = parse_page_token(&request.page_token)?;
        let page = self.pipeline.ask(|tracker| tracker.requests(worker_id.as_ref(), after.as_ref(), size));
        let next_page_token = match page.last() {
            Some(last) if page.len() == size => page_token(last),
            _ => String::new(),
        };
        let requests = page.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListRequestsResponse { requests, next_page_token }))
    }

    async fn watch_requests(
        &self,
        request: Request<pb::WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        let request = request.into_inner();
        let worker_id = optional_worker(request.worker_id)?;
        let interval = match request.interval {
            None => WATCH_INTERVAL,
            Some(interval) => Duration::try_from(interval)
                .ok()
                .filter(|interval| *interval >= SHORTEST_WATCH_INTERVAL)
                .ok_or_else(|| invalid("interval", format!("must be at least {SHORTEST_WATCH_INTERVAL:?}")))?,
        };
        let (responses, ready) = mpsc::channel(1);
        let (pipeline, shutdown) = (self.pipeline.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            shutdown.run_until_cancelled(watch_live(pipeline, worker_id, interval, responses)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(ready))))
    }

    async fn get_model(&self, _: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        let info = self.pipeline.ask(|tracker| tracker.model_info());
        Ok(Response::new(pb::GetModelResponse {
            source: info.source,
            model_version: info.version,
            feature_version: FEATURE_VERSION,
            feature_names: FEATURE_NAMES.map(str::to_owned).to_vec(),
            artifact: info.artifact,
            outcomes: info.outcomes,
            censored_outcomes: info.censored_outcomes,
            prior_window: u32::try_from(info.prior_window).unwrap_or(u32::MAX),
            prior: Some(info.prior.into()),
            accuracy: info.accuracy.into_iter().map(accuracy).collect(),
            trained_for: info.trained_for,
            last_retraining: self.retrained.borrow().clone().map(retraining),
        }))
    }

    async fn reload_model(
        &self,
        request: Request<pb::ReloadModelRequest>,
    ) -> Result<Response<pb::ReloadModelResponse>, Status> {
        let named = Some(request.into_inner().artifact).filter(|path| !path.is_empty());
        let source =
            named.map(|path| ArtifactSource::File(path.into())).or_else(|| self.artifact.clone()).ok_or_else(|| {
                invalid("artifact", "must be the path of a file, as the predictor was started without one")
            })?;
        let artifact = tokio::task::spawn_blocking(move || source.load())
            .await
            .map_err(|error| ServiceError::Internal(error.to_string()))?
            .map_err(|error| invalid("artifact", format!("{error:#}")))?;
        let info = self.pipeline.ask(|tracker| {
            tracker.swap(artifact);
            tracker.model_info()
        });
        tracing::info!(artifact = info.artifact, version = info.version, "model reloaded");
        Ok(Response::new(pb::ReloadModelResponse { source: info.source, model_version: info.version }))
    }
}

/// Reads messages for as long as the stream has permits left; a bad one ends the stream.
async fn read_steps(
    mut incoming: Streaming<pb::StreamStepsRequest>,
    steps: StreamSteps,
    permits: Arc<Semaphore>,
    ended: CancellationToken,
) {
    let read = async {
        while let Some(message) = incoming.message().await? {
            let received = Instant::now();
            let batch = parse(message)?;
            match permits.acquire_many(weight(&batch)).await {
                // The sender gives them back as it acknowledges.
                Ok(held) => held.forget(),
                Err(_) => break,
            }
            steps.send(&batch, received);
        }
        Ok::<_, ReadError>(())
    };
    match ended.run_until_cancelled(read).await {
        Some(Err(ReadError::Invalid(error))) => {
            tracing::debug!(%error, "stream ended");
            steps.fail(error);
        }
        // The connection has gone; the worker will be back.
        Some(Err(ReadError::Transport(status))) => tracing::debug!(%status, "stream broke"),
        Some(Ok(())) | None => {}
    }
}

enum ReadError {
    Invalid(ServiceError),
    Transport(Box<Status>),
}

impl From<ServiceError> for ReadError {
    fn from(error: ServiceError) -> Self {
        Self::Invalid(error)
    }
}

impl From<Status> for ReadError {
    fn from(status: Status) -> Self {
        Self::Transport(Box::new(status))
    }
}

fn parse(message: pb::StreamStepsRequest) -> Result<StepBatch, ServiceError> {
    for (field, entries) in
        [("started", message.started.len()), ("events", message.events.len()), ("ended", message.ended.len())]
    {
        if entries > MOST_ENTRIES {
            return Err(invalid(
                field,
                format!("must be at most {MOST_ENTRIES}, got {entries}; send several messages"),
            ));
        }
    }
    Ok(StepBatch::try_from(message)?)
}

/// Sends answers as they come and acknowledgements with them, or alone shortly after a write. When the stream is over it waits
/// until everything of it is written and acknowledged.
async fn send_answers(
    StreamAnswers { mut answers, mut progress }: StreamAnswers,
    responses: mpsc::Sender<Result<pb::StreamStepsResponse, Status>>,
    permits: &Semaphore,
    shutdown: &CancellationToken,
) {
    let mut out = Acknowledger { responses, permits, sent: Progress::default() };
    let mut due = None;
    let mut all_written = false;
    let error = loop {
        tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(Ok(answer)) => {
                    due = Some(tokio::time::Instant::now() + ACKNOWLEDGE_WITHIN);
                    let reply = StepsReply { acknowledged: 0, logged: false, estimates: answer.estimates, prior: answer.prior };
                    let written = *progress.borrow_and_update();
                    if out.send(written, reply).await.is_err() {
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
    let error = error.or_else(|| {
        shutdown.is_cancelled().then(|| ServiceError::Unavailable("the predictor is shutting down".into()))
    });
    if let Some(error) = error {
        // If the caller has gone there is nobody to tell.
        let _ = out.responses.send(Err(error.into())).await;
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

struct Acknowledger<'a> {
    responses: mpsc::Sender<Result<pb::StreamStepsResponse, Status>>,
    permits: &'a Semaphore,
    sent: Progress,
}

impl Acknowledger<'_> {
    async fn acknowledge(&mut self, written: Progress) -> Result<(), Gone> {
        self.send(written, StepsReply { acknowledged: 0, logged: false, estimates: vec![], prior: None }).await
    }

    /// Sends `reply` with the acknowledgement of what is `written`, and gives back the permits of that.
    async fn send(&mut self, written: Progress, reply: StepsReply) -> Result<(), Gone> {
        let reply = StepsReply { acknowledged: written.acknowledged, logged: written.logged, ..reply };
        self.responses.send(Ok(reply.into())).await.map_err(|_| Gone)?;
        // Within the permits there are, which fit.
        self.permits.add_permits((written.weight - self.sent.weight) as usize);
        self.sent = written;
        Ok(())
    }
}

/// Sends what changed since the last message, at most once per `interval`, and no sooner than the caller takes it.
async fn watch_live(
    pipeline: Arc<Pipeline>,
    worker_id: Option<WorkerId>,
    interval: Duration,
    responses: mpsc::Sender<Result<pb::WatchRequestsResponse, Status>>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: HashMap<RequestKey, (u32, Arc<str>)> = HashMap::new();
    let mut first = true;
    loop {
        ticks.tick().await;
        let Ok(slot) = responses.reserve().await else { return };
        let mut now = HashMap::with_capacity(known.len());
        let mut changed = vec![];
        let mut after = None;
        loop {
            let page = pipeline.ask(|tracker| tracker.requests(worker_id.as_ref(), after.as_ref(), LARGEST_PAGE));
            after = page.last().filter(|_| page.len() == LARGEST_PAGE).map(key);
            for state in page {
                let seen = (state.output_length, state.estimate.model_version.as_str().into());
                let key = key(&state);
                if known.get(&key) != Some(&seen) {
                    changed.push(state.into());
                }
                now.insert(key, seen);
            }
            if after.is_none() {
                break;
            }
        }
        let gone = known.keys().filter(|key| !now.contains_key(*key));
        let finished: Vec<_> = gone
            .map(|(worker_id, request_id)| pb::FinishedRequest {
                worker_id: worker_id.to_string(),
                request_id: request_id.to_string(),
            })
            .collect();
        known = now;
        // The first message says what there is, even if that is nothing.
        if std::mem::take(&mut first) || !changed.is_empty() || !finished.is_empty() {
            slot.send(Ok(pb::WatchRequestsResponse { requests: changed, finished }));
        }
    }
}

fn accuracy(one: ModelAccuracy) -> pb::ForecastAccuracy {
    let age =
        |(from_step, age): (u32, AgeCoverage)| pb::AgeCoverage { from_step, requests: age.requests, share: age.share };
    pb::ForecastAccuracy {
        error_to_prior: one.error_to_prior(),
        model: one.model,
        task: one.task.as_deref().unwrap_or_default().to_owned(),
        requests: one.requests,
        mae: one.mae,
        bias: one.bias,
        prior_mae: one.prior_mae,
        coverage90: AGES.into_iter().zip(one.coverage90).map(age).collect(),
    }
}

fn retraining(decision: Decision) -> pb::Retraining {
    let micros = (decision.timestamp * 1e6) as i64;
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    pb::Retraining {
        timestamp: Some(prost_types::Timestamp { seconds, nanos: rest as i32 * 1_000 }),
        outcomes: decision.outcomes,
        candidate: decision.candidate,
        serving: decision.serving,
        requests: decision.requests,
        candidate_mae: decision.candidate_mae,
        serving_mae: decision.serving_mae,
        swapped: decision.swapped,
        reason: decision.reason,
    }
}

fn invalid(field: &str, description: impl Into<String>) -> ServiceError {
    FieldViolation::new(field, description).into()
}

fn optional_worker(id: String) -> Result<Option<WorkerId>, ServiceError> {
    if id.is_empty() { Ok(None) } else { Ok(Some(WorkerId::try_from(id)?)) }
}

fn key(state: &RequestState) -> RequestKey {
    (state.worker_id.clone(), state.started.request_id.clone())
}

/// Ids have no spaces.
fn page_token(last: &RequestState) -> String {
    format!("{} {}", last.worker_id, last.started.request_id)
}

fn parse_page_token(token: &str) -> Result<Option<RequestKey>, ServiceError> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.split_once(' ').and_then(|(worker_id, request_id)| {
        Some((WorkerId::try_from(worker_id.to_owned()).ok()?, RequestId::try_from(request_id.to_owned()).ok()?))
    });
    parsed.map(Some).ok_or_else(|| invalid("page_token", "must be the next_page_token of the page before"))
}
