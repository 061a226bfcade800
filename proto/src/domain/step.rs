//! What a worker tells after each engine step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{RequestId, WorkerId};

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, or a stop text or stop token matched.
    Stop,
    /// Cut by `max_tokens`.
    Length,
    /// Cut by the client, a deadline or a shutdown.
    Abort,
    /// Cut by a failure of the worker.
    Error,
}

impl FinishReason {
    /// As logs and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }

    /// Whether the natural length is only known to be larger than what was generated.
    pub fn is_censored(self) -> bool {
        self != Self::Stop
    }
}

/// One run of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerRun {
    /// Which worker.
    pub worker_id: WorkerId,
    /// Larger in each later run.
    pub epoch: u64,
}

impl WorkerRun {
    /// The first run of a worker.
    #[doc(hidden)]
    pub fn for_test(worker_id: &str) -> Self {
        Self { worker_id: WorkerId::for_test(worker_id), epoch: 1 }
    }
}

/// All that happened in one engine step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepBatch {
    /// Where.
    pub run: WorkerRun,
    /// 1, 2, 3 ... within the run.
    pub sequence_number: u64,
    /// When the step ended, microseconds since 1970.
    pub timestamp_micros: i64,
    /// Requests that arrived or are announced again; precede their events.
    pub started: Vec<RequestStarted>,
    /// One per sampled token.
    pub events: Vec<StepEvent>,
    /// Requests that ended between steps.
    pub ended: Vec<RequestEnded>,
    /// How busy the worker is.
    pub load: EngineLoad,
}

impl StepBatch {
    /// The first message of a worker's first run; nothing happened.
    #[doc(hidden)]
    pub fn for_test(worker_id: &str) -> Self {
        Self {
            run: WorkerRun::for_test(worker_id),
            sequence_number: 1,
            timestamp_micros: 1_700_000_000_000_000,
            started: vec![],
            events: vec![],
            ended: vec![],
            load: EngineLoad::default(),
        }
    }
}

/// What is known of a request before its first token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestStarted {
    /// Unique among the worker's live requests.
    pub request_id: RequestId,
    /// Model that generates the reply.
    pub model: String,
    /// The EOS set, never empty; the first is the main one.
    pub eos_token_ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_length: u32,
    /// Most tokens the reply may have, at least 1.
    pub max_tokens: u32,
    /// Sampling temperature, 0 is greedy.
    pub temperature: f32,
    /// Kind of work, if the client said so.
    pub task: Option<String>,
    /// Tokens generated before this announcement.
    pub output_length: u32,
    /// The reply cannot end by itself.
    pub ignore_eos: bool,
    /// Length control raises EOS as the reply approaches this many tokens.
    pub target_tokens: Option<u32>,
    /// Its text, at most [`limits::PROMPT_CHARACTERS`](super::limits::PROMPT_CHARACTERS) from the end.
    pub prompt: Option<String>,
}

impl RequestStarted {
    /// A request of at most 100 tokens; every optional field is unset.
    #[doc(hidden)]
    pub fn for_test(request_id: &str) -> Self {
        Self {
            request_id: RequestId::for_test(request_id),
            model: "m".to_owned(),
            eos_token_ids: vec![2],
            prompt_length: 7,
            max_tokens: 100,
            temperature: 1.0,
            task: None,
            output_length: 0,
            ignore_eos: false,
            target_tokens: None,
            prompt: None,
        }
    }
}

/// What one sequence did in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEvent {
    /// Whose.
    pub request_id: RequestId,
    /// Tokens generated so far, this one included.
    pub step: u32,
    /// The sampled token.
    pub token_id: u32,
    /// Measures of the distribution it was sampled from.
    pub signals: StepSignals,
    /// Set when this token is the last one.
    pub finish_reason: Option<FinishReason>,
    /// Nats added to the logits of the EOS set by length control; above 0, the step is no natural one.
    pub eos_bias: f32,
    /// Projection of the hidden state that the token was drawn from, at most [`limits::SKETCH`](super::limits::SKETCH) finite
    /// numbers; empty if it is not told, then the last one counts.
    pub sketch: Arc<[f32]>,
}

impl StepEvent {
    /// The first step of a request, which goes on.
    #[doc(hidden)]
    pub fn for_test(request_id: &str) -> Self {
        Self {
            request_id: RequestId::for_test(request_id),
            step: 1,
            token_id: 5,
            signals: StepSignals::for_test(),
            finish_reason: None,
            eos_bias: 0.0,
            sketch: [].into(),
        }
    }
}

/// Measures of one next-token distribution. Logarithms are natural; none is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSignals {
    /// Of the EOS set's probability, from the raw logits.
    pub eos_logprob: f32,
    /// The same after temperature, penalties, length control, truncation and masks; minus infinity if the reply cannot end here.
    pub eos_logprob_sampled: f32,
    /// Of the sampled token's probability, from the raw logits.
    pub token_logprob: f32,
    /// Of the raw distribution, in nats.
    pub entropy: f32,
    /// Of the most likely token's probability.
    pub top_logprob: f32,
    /// Rank of the most likely EOS token, 1 is the top.
    pub eos_rank: u32,
    /// Of the probability of all tokens that end a sentence, from the raw logits, if that is told.
    pub sentence_end_logprob: Option<f32>,
    /// The same of all tokens with a line break.
    pub newline_logprob: Option<f32>,
}

impl StepSignals {
    /// Every logarithm is -1; every optional field is unset.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        Self {
            eos_logprob: -1.0,
            eos_logprob_sampled: -1.0,
            token_logprob: -1.0,
            entropy: 1.0,
            top_logprob: -1.0,
            eos_rank: 1,
            sentence_end_logprob: None,
            newline_logprob: None,
        }
    }

    /// Probability of the EOS set, from the raw logits.
    pub fn eos_probability(&self) -> f32 {
        self.eos_logprob.exp()
    }
}

/// A request that ended without a token to say so.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestEnded {
    /// Which.
    pub request_id: RequestId,
    /// Why.
    pub finish_reason: FinishReason,
    /// Tokens generated.
    pub output_length: u32,
}

/// How busy a worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Requests in the batch.
    pub running_requests: u32,
    /// Requests in the queue.
    pub waiting_requests: u32,
    /// Blocks owned by running requests.
    pub kv_blocks_used: u32,
    /// The KV budget in blocks.
    pub kv_blocks_total: u32,
    /// Since the worker started.
    pub preemptions: u64,
    /// Since the worker started.
    pub generated_tokens: u64,
}

impl EngineLoad {
    /// Share of the KV budget in use, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        f64::from(self.kv_blocks_used) / f64::from(self.kv_blocks_total.max(1))
    }
}
