//! gRPC: the wire on one side, the engine on the other. Here the worker's own service; `load_reports`: that for balancers.

pub(crate) mod load_reports;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use eoscast_proto::deadline::Deadline;
use eoscast_proto::domain::{GenerateSpec, RequestId, WorkerRun};
use eoscast_proto::status::ServiceError;
use eoscast_proto::worker::v1 as pb;
pub(crate) use pb::worker_service_server::SERVICE_NAME;
use pb::worker_service_server::WorkerService;
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::bounds::{ClientKey, client_of, too_many_request_bytes};
use crate::client_id;
use crate::engine::{EncodeOptions, EngineConfig, EngineHandle, PreparedRequest, ReplyStream, RequestPreparer};
use crate::link::ForecastBasis;
use crate::load_report;
use crate::refusal::Refused;

/// What identifies this worker, for `GetServerInfo`.
#[derive(Debug, Clone)]
pub(crate) struct ServerInfo {
    /// Which run of which worker.
    pub run: WorkerRun,
    /// When it started.
    pub started_at: SystemTime,
    /// How its engine runs.
    pub engine: EngineConfig,
}

/// The worker service.
pub(crate) struct WorkerRpc {
    engine: EngineHandle,
    preparer: Arc<RequestPreparer>,
    info: ServerInfo,
}

impl WorkerRpc {
    /// Serves `engine`.
    pub(crate) fn new(engine: EngineHandle, preparer: Arc<RequestPreparer>, info: ServerInfo) -> Self {
        Self { engine, preparer, info }
    }
}

type GenerateStream = Pin<Box<dyn Stream<Item = Result<pb::GenerateResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for WorkerRpc {
    type GenerateStream = GenerateStream;

    async fn generate(&self, request: Request<pb::GenerateRequest>) -> Result<Response<GenerateStream>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let headers = metadata.into_headers();
        let deadline = extensions.get().map(|Deadline(at)| *at);
        let load_format = load_report::wanted(&headers);
        let pending = Pending {
            engine: &self.engine,
            // What is no id is not worth a line of any length.
            request_id: RequestId::try_from(message.request_id.clone()).ok(),
            client_request_id: client_id::given(&headers).ok().flatten(),
            deadline,
        };
        let sender = Sender {
            client: client_of(&extensions),
            client_request_id: pending.client_request_id.map(str::to_owned),
            deadline,
        };
        let submitted = self.submit(message, sender).await;
        let reply = pending.ended(submitted)?;
        let request_id = reply.request_id.clone();
        let responses = reply
            .map(move |event| event.map(|event| pb::GenerateResponse::new(&request_id, event)).map_err(Status::from));
        let mut response: Response<GenerateStream> = Response::new(Box::pin(responses));
        if let Some(format) = load_format {
            load_report::write(format, &self.engine, response.metadata_mut().as_mut());
        }
        Ok(response)
    }

    async fn abort(&self, request: Request<pb::AbortRequest>) -> Result<Response<pb::AbortResponse>, Status> {
        let id = RequestId::try_from(request.into_inner().request_id).map_err(ServiceError::from)?;
        Ok(Response::new(pb::AbortResponse { aborted: self.engine.abort(id) }))
    }

    async fn get_model_info(
        &self,
        _: Request<pb::GetModelInfoRequest>,
    ) -> Result<Response<pb::GetModelInfoResponse>, Status> {
        let model = self.engine.model().clone();
        Ok(Response::new(pb::GetModelInfoResponse {
            name: model.name,
            architecture: model.architecture,
            quantization: model.quantization,
            parameters: model.parameters,
            // Sizes of a loaded model are far below 4 billion.
            vocab_size: model.vocab_size as u32,
            context_length: self.preparer.context_length() as u32,
            eos_token_ids: model.eos_token_ids,
            chat_template: self.preparer.chat_template_source().unwrap_or_default().to_owned(),
        }))
    }

    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        let EngineConfig { scheduler, policy, max_waiting, .. } = &self.info.engine;
        Ok(Response::new(pb::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            worker_id: self.info.run.worker_id.to_string(),
            epoch: self.engine.link().status().epoch,
            started_at: Some(self.info.started_at.into()),
            policy: policy.to_string(),
            kv_block_size: scheduler.block_size,
            kv_blocks: scheduler.num_blocks,
            max_running_requests: scheduler.max_running,
            max_waiting_requests: *max_waiting as u32,
            max_batched_tokens: scheduler.max_batched_tokens,
            predictor: Some(self.predictor_link()),
        }))
    }

    async fn get_loads(&self, _: Request<pb::GetLoadsRequest>) -> Result<Response<pb::GetLoadsResponse>, Status> {
        let (load, generated_tokens_per_second) = self.engine.metrics().load();
        let forecast = self.engine.metrics().forecast_load();
        Ok(Response::new(pb::GetLoadsResponse {
            load: Some(load.into()),
            generated_tokens_per_second,
            kv_usage: load.kv_usage() as f32,
            forecast_load: Some(forecast.mean),
            forecast_outstanding_tokens_mean: Some(forecast.outstanding_mean),
            forecast_outstanding_tokens_p90: Some(forecast.outstanding_p90),
        }))
    }
}

impl WorkerRpc {
    /// Checks a request and hands it to the engine, which ends it at its deadline.
    async fn submit(
        &self,
        message: pb::GenerateRequest,
        Sender { client, client_request_id, deadline }: Sender,
    ) -> Result<ReplyStream, ServiceError> {
        let bytes = message.encoded_len();
        let account = self.engine.request_bytes().account(client);
        account.take(bytes).map_err(|_| too_many_request_bytes())?;
        let spec = GenerateSpec::try_from(message)?;
        let preparer = Arc::clone(&self.preparer);
        let prepared = self.engine.encoders().run(client, bytes, move |cancelled| {
            let _account = account;
            preparer.prepare_with(spec, deadline, EncodeOptions { bare: false, all: false, cancelled })
        });
        self.engine.submit(PreparedRequest { client_request_id, client, ..prepared.await? })
    }

    fn predictor_link(&self) -> pb::PredictorLink {
        let status = self.engine.link().status();
        let basis = match self.engine.metrics().basis() {
            None => pb::ForecastBasis::Unspecified,
            Some(ForecastBasis::Estimate) => pb::ForecastBasis::Estimates,
            Some(ForecastBasis::Prior) => pb::ForecastBasis::Prior,
            Some(ForecastBasis::WorstCase) => pb::ForecastBasis::WorstCase,
        };
        pb::PredictorLink {
            endpoint: status.endpoint.unwrap_or_default(),
            connected: status.connected,
            sequence_number: status.sequence_number,
            acknowledged_sequence_number: status.acknowledged,
            dropped_steps: status.dropped_steps,
            reconnects: status.reconnects,
            basis: basis.into(),
        }
    }
}

/// Who sent a request.
struct Sender {
    client: ClientKey,
    /// What the client calls it.
    client_request_id: Option<String>,
    /// When the client stops waiting.
    deadline: Option<Instant>,
}

/// A request on its way to the engine, for the log.
struct Pending<'a> {
    engine: &'a EngineHandle,
    /// None if the client chose none.
    request_id: Option<RequestId>,
    client_request_id: Option<&'a str>,
    deadline: Option<Instant>,
}

impl Pending<'_> {
    /// The way ended, in the engine or before.
    fn ended<T>(mut self, submitted: Result<T, ServiceError>) -> Result<T, ServiceError> {
        self.deadline = None;
        submitted.inspect_err(|error| self.record(error))
    }

    fn record(&self, error: &ServiceError) {
        let id = self.request_id.as_ref().map(RequestId::as_str);
        Refused::from(error).record(self.engine, id, self.client_request_id);
    }
}

impl Drop for Pending<'_> {
    /// A call is dropped at its deadline.
    fn drop(&mut self) {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.record(&ServiceError::DeadlineExceeded("the deadline passed before the request was queued".into()));
        }
    }
}
