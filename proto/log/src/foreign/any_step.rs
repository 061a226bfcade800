//! [`AnyStep`]: one step of one reply, as any log tells it.

use std::sync::Arc;

use super::ending::Ending;
use crate::record::{Signals, StepLine};

/// One step of one reply, from a line of our own log or of another one that has the twelve classic fields. A value that the log does
/// not have is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyStep {
    /// Request this step belongs to.
    pub request_id: Arc<str>,
    /// Where it ran.
    pub worker_id: Option<Arc<str>>,
    /// Run of the worker.
    pub epoch: Option<u64>,
    /// Model that generates the reply.
    pub model: Option<Arc<str>>,
    /// Kind of work.
    pub task: Option<Arc<str>>,
    /// When the step ended; seconds, in most logs since 1970.
    pub timestamp: Option<f64>,
    /// Tokens generated, this one included; 0 for the first one in logs that count from 0.
    pub tokens: u32,
    /// The sampled token.
    pub token_id: Option<u32>,
    /// The main EOS token.
    pub eos_token_id: Option<u32>,
    /// How the reply ended with this step; `None` where it went on.
    pub ending: Option<Ending>,
    /// Tokens of the prompt.
    pub prompt_length: Option<u32>,
    /// Most tokens the reply may have.
    pub max_tokens: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// Nats by which length control raised EOS.
    pub eos_bias: f32,
    /// The measures of the step's distribution.
    pub signals: Signals,
    /// Projection of the hidden state; empty where there is none.
    pub sketch: Vec<f32>,
}

impl From<StepLine> for AnyStep {
    fn from(line: StepLine) -> Self {
        let reason = line.finish_reason.map_or(Ending::Unknown, Ending::By);
        Self {
            request_id: line.request_id.as_str().into(),
            worker_id: Some(line.worker_id.as_str().into()),
            epoch: Some(line.epoch),
            model: Some(line.model),
            task: line.task,
            timestamp: Some(line.timestamp),
            tokens: line.step,
            token_id: Some(line.current_token_id),
            eos_token_id: Some(line.eos_token_id),
            ending: line.is_finished.then_some(reason),
            prompt_length: Some(line.prompt_length),
            max_tokens: Some(line.max_tokens),
            temperature: Some(line.temperature),
            ignore_eos: line.ignore_eos,
            eos_bias: line.eos_bias,
            signals: Signals {
                eos_logprob: Some(line.eos_logprob),
                eos_logprob_sampled: Some(line.eos_logprob_sampled.unwrap_or(f32::NEG_INFINITY)),
                token_logprob: Some(line.token_logprob),
                entropy: Some(line.entropy),
                top_logprob: Some(line.top_logprob),
                eos_rank: Some(line.eos_rank),
                sentence_end_logprob: line.sentence_end_logprob,
                newline_logprob: line.newline_logprob,
            },
            sketch: line.sketch.to_vec(),
        }
    }
}
