//! What a worker tells the predictor, by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use eoscast_proto::predictor::v1 as pb;
use pb::predictor_service_client::PredictorServiceClient;
use tonic::Status;
use tonic::transport::Channel;

/// Microseconds since 1970, as a worker's epoch is.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// An empty message of now.
pub(crate) fn message(worker_id: &str, epoch: u64, sequence_number: u64) -> pb::StreamStepsRequest {
    let now = now_micros();
    pb::StreamStepsRequest {
        worker_id: worker_id.into(),
        epoch,
        sequence_number,
        timestamp: Some(prost_types::Timestamp {
            seconds: (now / 1_000_000) as i64,
            nanos: (now % 1_000_000 * 1000) as i32,
        }),
        ..Default::default()
    }
}

pub(crate) fn started(request_id: &str) -> pb::RequestStarted {
    pb::RequestStarted {
        request_id: request_id.into(),
        model: "smollm2-135m".into(),
        eos_token_ids: vec![2],
        prompt_length: 5,
        max_tokens: 768,
        temperature: 1.0,
        ..Default::default()
    }
}

pub(crate) fn event(request_id: &str, step: u32) -> pb::StepEvent {
    pb::StepEvent {
        request_id: request_id.into(),
        step,
        token_id: 5,
        eos_logprob: -8.0,
        eos_logprob_sampled: -8.0,
        token_logprob: -1.0,
        entropy: 2.0,
        top_logprob: -0.5,
        eos_rank: 9,
        ..Default::default()
    }
}

/// Sends messages on a stream of their own and waits for its end: the answers, and the error that ended it.
pub(crate) async fn tell(
    mut client: PredictorServiceClient<Channel>,
    messages: Vec<pb::StreamStepsRequest>,
) -> (Vec<pb::StreamStepsResponse>, Option<Status>) {
    let mut answers = Vec::new();
    let mut stream = match client.stream_steps(tokio_stream::iter(messages)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return (answers, Some(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return (answers, None),
            Err(status) => return (answers, Some(status)),
        }
    }
}
