//! gRPC: the wire on one side, the engine on the other.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eoscast_proto::domain::{GenerateSpec, RequestId, WorkerRun};
use eoscast_proto::status::{FieldViolation, ServiceError};
use eoscast_proto::worker::v1 as pb;
use pb::worker_service_server::WorkerService;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::engine::{EngineConfig, EngineHandle, RequestPreparer};
use crate::link::ForecastBasis;

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
        let deadline = deadline(request.metadata(), Instant::now()).map_err(ServiceError::from)?;
        let spec = GenerateSpec::try_from(request.into_inner()).map_err(ServiceError::from)?;
        let preparer = Arc::clone(&self.preparer);
        let prepared = tokio::task::spawn_blocking(move || preparer.prepare(spec, deadline))
            .await
            .map_err(|error| Status::internal(format!("preparing the request failed: {error}")))??;
        let reply = self.engine.submit(prepared)?;
        let request_id = reply.request_id.clone();
        let responses = reply
            .map(move |event| event.map(|event| pb::GenerateResponse::new(&request_id, event)).map_err(Status::from));
        Ok(Response::new(Box::pin(responses)))
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
            context_length: model.context_length as u32,
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
            epoch: self.info.run.epoch,
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
        Ok(Response::new(pb::GetLoadsResponse {
            load: Some(load.into()),
            generated_tokens_per_second,
            kv_usage: load.kv_blocks_used as f32 / load.kv_blocks_total.max(1) as f32,
        }))
    }
}

impl WorkerRpc {
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

/// The client's deadline. tonic enforces `grpc-timeout` only until the response headers, so the engine does it.
fn deadline(metadata: &MetadataMap, now: Instant) -> Result<Option<Instant>, FieldViolation> {
    let Some(value) = metadata.get("grpc-timeout") else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse_timeout).ok_or_else(|| {
        FieldViolation::new("grpc-timeout", "must be 1 to 8 digits and one of H, M, S, m, u or n, e.g. 500m")
    })?;
    Ok(now.checked_add(timeout))
}

/// `Timeout` of the gRPC over HTTP/2 specification: at most eight digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_writes_them() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("500m", Some(Duration::from_millis(500))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("2M", Some(Duration::from_secs(120))),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
        for text in ["", "S", "5", "-1S", "1.5S", "123456789S", "1x", "5€"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }
}
