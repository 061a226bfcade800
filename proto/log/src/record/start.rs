//! [`StartLine`]: one request that arrived.

use std::sync::Arc;

use eoscast_proto::domain::{ModelForecast, RequestId, RequestStarted, WorkerId};
use serde::{Deserialize, Serialize};

use super::arrival::{Arrival, arrival_of};
use crate::prompt::PromptFeatures;

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartLine {
    /// Which.
    pub request_id: RequestId,
    /// When its worker announced it, seconds since 1970.
    pub timestamp: f64,
    /// Where it runs.
    pub worker_id: WorkerId,
    /// Run of the worker.
    pub epoch: u64,
    /// Number of the message that announced it.
    pub sequence_number: u64,
    /// Model that generates the reply.
    pub model: Arc<str>,
    /// The EOS set.
    pub eos_token_ids: Vec<u32>,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// Tokens generated before the predictor heard of it.
    pub output_length: u32,
    /// Most tokens the reply may have.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f32,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// What was answered, if a predictor was there.
    pub estimate: Option<ModelForecast>,
    /// Length that the worker's length control aims at, if it is on.
    #[serde(default)]
    pub target_tokens: Option<u32>,
    /// Computed from the prompt's text, if the worker sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_features: Option<PromptFeatures>,
}

impl StartLine {
    /// The announcement of its worker, without the text of the prompt, which is not logged.
    pub fn started(&self) -> RequestStarted {
        RequestStarted {
            request_id: self.request_id.clone(),
            model: self.model.as_ref().to_owned(),
            eos_token_ids: self.eos_token_ids.clone(),
            prompt_length: self.prompt_length,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            task: self.task.as_deref().map(str::to_owned),
            output_length: self.output_length,
            ignore_eos: self.ignore_eos,
            target_tokens: self.target_tokens,
            prompt: None,
        }
    }

    /// What was known of the request on arrival.
    pub fn arrival(&self) -> Arrival {
        arrival_of!(self, prompt: self.prompt_features)
    }
}
