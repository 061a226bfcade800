//! A predictor that knows how long each reply will be: the bound that policies of true lengths stand for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use eoscast_proto::domain::{END_WITHIN, QUANTILE_LEVELS};
use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::transport::{Limits, Listener, MAX_MESSAGE_BYTES};
use pb::predictor_service_server::{PredictorService, PredictorServiceServer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Tokens of each reply, by request id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lengths(Arc<HashMap<String, u32>>);

impl FromIterator<(String, u32)> for Lengths {
    fn from_iter<I: IntoIterator<Item = (String, u32)>>(lengths: I) -> Self {
        Self(Arc::new(lengths.into_iter().collect()))
    }
}

impl Lengths {
    /// The answer to one message: it is acknowledged, and every request in it that goes on and is known gets its estimate.
    fn answer(&self, message: &pb::StreamStepsRequest) -> pb::StreamStepsResponse {
        let started = message.started.iter().map(|started| (&started.request_id, started.output_length));
        let events = message.events.iter().filter(|event| event.finish_reason == 0);
        let going_on = started.chain(events.map(|event| (&event.request_id, event.step)));
        pb::StreamStepsResponse {
            acknowledged_sequence_number: message.sequence_number,
            // There is no event log.
            logged: false,
            estimates: going_on.filter_map(|(id, step)| self.estimate(id, step)).collect(),
            prior: None,
        }
    }

    fn estimate(&self, id: &str, step: u32) -> Option<pb::LengthEstimate> {
        let remaining = self.0.get(id)?.saturating_sub(step).max(1);
        Some(pb::LengthEstimate {
            request_id: id.to_owned(),
            step,
            source: "oracle".into(),
            model_version: "oracle".into(),
            mean: remaining as f32,
            quantiles: vec![remaining as f32; QUANTILE_LEVELS.len()],
            end_within: END_WITHIN.map(|horizon| f32::from(u8::from(remaining <= horizon))).to_vec(),
        })
    }
}

/// The service; it ends when dropped.
pub(crate) struct Oracle {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Oracle {
    /// Serves in this process, on an ephemeral port.
    ///
    /// # Errors
    /// There is no port.
    pub(crate) async fn start(lengths: Lengths) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let service = PredictorServiceServer::new(lengths).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let listener = Listener::new(listener, Limits::grpc());
        let serving = tokio::spawn(listener.serve_grpc(Routes::new(service), CancellationToken::new()));
        Ok(Self { addr, serving })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A worker calls `StreamSteps` alone.
fn not_here() -> Status {
    Status::unimplemented("an oracle answers steps only")
}

#[tonic::async_trait]
impl PredictorService for Lengths {
    type StreamStepsStream = Responses<pb::StreamStepsResponse>;
    type WatchRequestsStream = Responses<pb::WatchRequestsResponse>;

    async fn stream_steps(
        &self,
        request: Request<Streaming<pb::StreamStepsRequest>>,
    ) -> Result<Response<Self::StreamStepsStream>, Status> {
        let lengths = self.clone();
        let answers = request.into_inner().map(move |message| message.map(|message| lengths.answer(&message)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_estimate(
        &self,
        _: Request<pb::GetEstimateRequest>,
    ) -> Result<Response<pb::GetEstimateResponse>, Status> {
        Err(not_here())
    }

    async fn list_requests(
        &self,
        _: Request<pb::ListRequestsRequest>,
    ) -> Result<Response<pb::ListRequestsResponse>, Status> {
        Err(not_here())
    }

    async fn watch_requests(
        &self,
        _: Request<pb::WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        Err(not_here())
    }

    async fn get_model(&self, _: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        Err(not_here())
    }

    async fn reload_model(
        &self,
        _: Request<pb::ReloadModelRequest>,
    ) -> Result<Response<pb::ReloadModelResponse>, Status> {
        Err(not_here())
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::StepsReply;

    use super::*;

    fn event(id: &str, step: u32, finish_reason: pb::FinishReason) -> pb::StepEvent {
        pb::StepEvent { request_id: id.into(), step, finish_reason: finish_reason.into(), ..Default::default() }
    }

    #[test]
    fn what_goes_on_is_told_what_remains_and_every_message_is_acknowledged() {
        let lengths: Lengths = [("a".to_owned(), 40), ("b".to_owned(), 9)].into_iter().collect();
        let started = |id: &str| pb::RequestStarted { request_id: id.into(), ..Default::default() };
        let message = pb::StreamStepsRequest {
            sequence_number: 7,
            started: vec![started("a"), started("unknown")],
            events: vec![
                event("a", 30, pb::FinishReason::Unspecified),
                event("b", 9, pb::FinishReason::Stop),
                event("b", 8, pb::FinishReason::Unspecified),
            ],
            ..Default::default()
        };
        let answer = lengths.answer(&message);
        let told: Vec<_> = answer.estimates.iter().map(|e| (e.request_id.as_str(), e.step, e.mean)).collect();
        assert_eq!(told, [("a", 0, 40.0), ("a", 30, 10.0), ("b", 8, 1.0)]);
        assert!(answer.estimates.iter().all(|e| e.quantiles.iter().all(|tokens| *tokens == e.mean)));
        assert_eq!(answer.estimates[1].end_within, [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(answer.acknowledged_sequence_number, 7);
        assert!(StepsReply::try_from(answer).is_ok(), "the worker takes it");
    }
}
