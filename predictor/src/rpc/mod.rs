//! The gRPC service. Generated types are named here and nowhere else in this crate.
//!
//! # Layout
//! - `common`: what the calls share
//! - `steps`: `StreamSteps`, both directions
//! - `watch`: `WatchRequests`
//! - `reload`: what `ReloadModel` may read

mod common;
mod reload;
mod steps;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eoscast_proto::domain::{RequestId, RequestState, WorkerId};
use eoscast_proto::predictor::v1 as pb;
pub(crate) use eoscast_proto::predictor::v1::predictor_service_server::SERVICE_NAME;
use eoscast_proto::predictor::v1::predictor_service_server::{PredictorService, PredictorServiceServer};
use eoscast_proto::status::ServiceError;
use eoscast_proto::transport::MAX_MESSAGE_BYTES;
use tokio::sync::watch as watch_channel;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::accuracy::{AgeCoverage, ModelAccuracy};
use crate::pipeline::Pipeline;
use crate::retraining::decision::Decision;
use crate::tracker::RequestKey;
use common::{PIECE, Responses, invalid, key};
use eoscast_forecast::age::AGES;
use eoscast_forecast::features::{FEATURE_NAMES, FEATURE_VERSION};
use eoscast_forecast::files::ArtifactSource;
use reload::Reloads;
use watch::Watchers;

const LARGEST_PAGE: usize = 1_000;
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
const SHORTEST_WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// Answers calls from the pipeline.
#[derive(Clone)]
pub(crate) struct Rpc {
    pipeline: Arc<Pipeline>,
    reloads: Reloads,
    watchers: Arc<Watchers>,
    retrained: watch_channel::Receiver<Option<Decision>>,
    shutdown: CancellationToken,
}

impl Rpc {
    /// Streams end when `shutdown` is cancelled. `ReloadModel` reads files of `artifact_dir`, or again what the predictor
    /// was started with; without the folder it is off.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        started_with: Option<ArtifactSource>,
        artifact_dir: Option<PathBuf>,
        retrained: watch_channel::Receiver<Option<Decision>>,
        shutdown: CancellationToken,
    ) -> Self {
        let watchers = Watchers::new(pipeline.clone());
        Self { pipeline, reloads: Reloads::new(artifact_dir, started_with), watchers, retrained, shutdown }
    }

    /// For a tonic server.
    pub(crate) fn into_service(self) -> PredictorServiceServer<Self> {
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
        Ok(Response::new(steps::serve(&self.pipeline, request.into_inner(), &self.shutdown)))
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
        let page = page(&self.pipeline, worker_id.as_ref(), after, size).await;
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
        Ok(Response::new(self.watchers.watch(worker_id, interval, &self.shutdown)?))
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
        let artifact = self.reloads.load(request.into_inner().artifact).await?;
        let info = self.pipeline.ask(|tracker| {
            tracker.swap(artifact);
            tracker.model_info()
        });
        tracing::info!(artifact = info.artifact, version = info.version, "model reloaded");
        Ok(Response::new(pb::ReloadModelResponse { source: info.source, model_version: info.version }))
    }
}

/// Up to `size` live requests after `after`, gathered in pieces: between two of them messages are applied.
async fn page(
    pipeline: &Pipeline,
    worker_id: Option<&WorkerId>,
    mut after: Option<RequestKey>,
    size: usize,
) -> Vec<RequestState> {
    let mut page = vec![];
    while page.len() < size {
        let wanted = (size - page.len()).min(PIECE);
        let piece = pipeline.ask(|tracker| tracker.requests(worker_id, after.as_ref(), wanted));
        let is_last = piece.len() < wanted;
        page.extend(piece);
        if is_last {
            break;
        }
        after = page.last().map(key);
        tokio::task::yield_now().await;
    }
    page
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

fn optional_worker(id: String) -> Result<Option<WorkerId>, ServiceError> {
    if id.is_empty() { Ok(None) } else { Ok(Some(WorkerId::try_from(id)?)) }
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
