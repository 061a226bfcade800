//! A request checked against the model: tokens, limits and defaults settled. Only a [`PreparedRequest`] reaches the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use eoscast_proto::domain::{GenerateSpec, Input, RequestId, RequestStarted, SamplingParams, limits};
use eoscast_proto::hash::fnv1a;
use eoscast_proto::status::{FieldViolation, ServiceError};

use crate::runner::ModelSpec;
use eoscast_model::text::{ChatTemplate, ChatTemplateError, Tokenizer, Turn};

/// A request with everything settled.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// Given by the client or chosen here.
    pub request_id: RequestId,
    /// The prompt, never empty, all ids in the vocabulary.
    pub prompt: Vec<u32>,
    /// What the predictor may be told of the prompt's text, the end of it if it is long.
    pub prompt_text: Option<String>,
    /// As given; its `max_tokens` and `seed` are settled below.
    pub sampling: SamplingParams,
    /// At least 1; prompt and reply together fit the context and the KV budget.
    pub max_tokens: u32,
    /// Of the sampler.
    pub seed: u64,
    /// Lower is more urgent.
    pub priority: i32,
    /// Kind of work, if the client said so.
    pub task: Option<String>,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
    /// Chunks carry EOS log-probabilities.
    pub include_eos_logprob: bool,
    /// Chunks carry the current estimate.
    pub include_estimate: bool,
}

impl PreparedRequest {
    /// The predictor's notice of the request's arrival at a worker of `model`; `prompt` is what it may know of the text.
    pub(crate) fn announcement(&self, model: &ModelSpec, prompt: Option<String>) -> RequestStarted {
        RequestStarted {
            request_id: self.request_id.clone(),
            model: model.name.clone(),
            eos_token_ids: model.eos_token_ids.clone(),
            prompt_length: self.prompt.len() as u32,
            max_tokens: self.max_tokens,
            temperature: self.sampling.temperature,
            task: self.task.clone(),
            output_length: 0,
            ignore_eos: self.sampling.ignore_eos,
            target_tokens: self.sampling.length_control.map(|control| control.target_tokens),
            prompt,
        }
    }
}

/// Turns requests into prepared ones.
pub struct RequestPreparer {
    tokenizer: std::sync::Arc<Tokenizer>,
    chat_template: Option<ChatTemplate>,
    vocab_size: usize,
    context_length: usize,
    kv_tokens: usize,
    next_id: AtomicU64,
}

impl RequestPreparer {
    /// For the model of `spec`, whose cache is the KV budget.
    pub fn new(tokenizer: std::sync::Arc<Tokenizer>, chat_template: Option<ChatTemplate>, spec: &ModelSpec) -> Self {
        Self {
            tokenizer,
            chat_template,
            vocab_size: spec.vocab_size,
            context_length: spec.context_length,
            kv_tokens: spec.num_blocks * spec.block_size,
            next_id: AtomicU64::new(1),
        }
    }

    /// The tokenizer of the model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Source of the model's chat template.
    pub fn chat_template_source(&self) -> Option<&str> {
        self.chat_template.as_ref().map(ChatTemplate::source)
    }

    /// Tokenises and checks. Costs time in proportion to the prompt: not for an async thread.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field, if the prompt or `max_tokens` does not fit, an id is unknown, or the chat template
    /// refuses the messages.
    pub fn prepare(&self, spec: GenerateSpec, deadline: Option<Instant>) -> Result<PreparedRequest, ServiceError> {
        let field = field(&spec.input);
        let prompt = self.encode(&spec.input)?;
        let prompt_text = Some(self.prompt_text(&spec.input));
        if let Some(id) = prompt.iter().find(|id| **id as usize >= self.vocab_size) {
            let most = self.vocab_size - 1;
            return Err(FieldViolation::new(field, format!("token {id} is not in the vocabulary (0 to {most})")).into());
        }
        for id in &spec.sampling.stop_token_ids {
            if *id as usize >= self.vocab_size {
                let field = "sampling_params.stop_token_ids";
                return Err(FieldViolation::new(field, format!("token {id} is not in the vocabulary")).into());
            }
        }
        let max_tokens = self.max_tokens(field, prompt.len(), &spec.sampling)?;
        let request_id = match spec.request_id {
            Some(id) => id,
            None => self.choose_id()?,
        };
        Ok(PreparedRequest {
            prompt,
            prompt_text,
            max_tokens,
            seed: spec.sampling.seed.unwrap_or_else(|| fnv1a(request_id.as_str(), now_nanos())),
            request_id,
            sampling: spec.sampling,
            priority: spec.priority,
            task: spec.task,
            deadline,
            include_eos_logprob: spec.include_eos_logprob,
            include_estimate: spec.include_estimate,
        })
    }

    /// The tokens of a prompt.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field, if the chat template refuses the messages or the model has none.
    pub fn encode(&self, input: &Input) -> Result<Vec<u32>, ServiceError> {
        let internal = |error: &dyn std::fmt::Display| ServiceError::Internal(error.to_string());
        match input {
            Input::TokenIds(ids) => Ok(ids.clone()),
            Input::Text(text) => self.tokenizer.encode_prompt(text).map_err(|error| internal(&error)),
            Input::Chat(messages) => {
                let template = self.chat_template.as_ref().ok_or_else(|| {
                    FieldViolation::new("chat", "the model has no chat template: send text or token_ids")
                })?;
                let turns: Vec<_> = messages.iter().map(|m| Turn { role: &m.role, content: &m.content }).collect();
                let text = template.render(&turns, true).map_err(|error| match error {
                    ChatTemplateError::Rejected(_) | ChatTemplateError::TooMuchWork => {
                        ServiceError::from(FieldViolation::new(field(input), error.to_string()))
                    }
                    ChatTemplateError::Syntax(_) | ChatTemplateError::Failed(_) => internal(&error),
                })?;
                self.tokenizer.encode(&text).map_err(|error| internal(&error))
            }
        }
    }

    /// What the user says last: a chat's last user turn, or the text of a plain prompt.
    fn prompt_text(&self, input: &Input) -> String {
        let decoded =
            |ids: &[u32]| -> Vec<u8> { ids.iter().flat_map(|id| self.tokenizer.token_bytes(*id)).copied().collect() };
        match input {
            Input::Text(text) => last_characters(text),
            Input::TokenIds(ids) => last_characters(&String::from_utf8_lossy(&decoded(ids))),
            Input::Chat(turns) => {
                let user = turns.iter().rfind(|turn| turn.role == "user");
                user.map_or_else(String::new, |turn| last_characters(&turn.content))
            }
        }
    }

    /// Most tokens of a prompt and its reply together, and what sets that limit.
    pub fn token_limit(&self) -> (usize, &'static str) {
        if self.kv_tokens < self.context_length {
            (self.kv_tokens, "KV budget (--kv-tokens)")
        } else {
            (self.context_length, "context of the model")
        }
    }

    /// The KV entry of the last token is never needed, but a block for it is planned, so both limits are the same sum.
    fn max_tokens(&self, field: &str, prompt: usize, sampling: &SamplingParams) -> Result<u32, FieldViolation> {
        let (limit, what) = self.token_limit();
        if prompt == 0 {
            return Err(FieldViolation::new(field, "holds no tokens"));
        }
        if prompt >= limit {
            return Err(FieldViolation::new(
                field,
                format!("prompt of {prompt} tokens leaves no room for a reply in the {what} of {limit} tokens"),
            ));
        }
        let room = u32::try_from(limit - prompt).unwrap_or(u32::MAX);
        match sampling.max_tokens {
            Some(asked) if asked > room => Err(FieldViolation::new(
                "sampling_params.max_tokens",
                format!("prompt of {prompt} tokens and {asked} new ones exceed the {what} of {limit}: at most {room}"),
            )),
            None if sampling.min_tokens > room => Err(FieldViolation::new(
                "sampling_params.min_tokens",
                format!("the {what} of {limit} tokens leaves room for {room}, got {}", sampling.min_tokens),
            )),
            asked => Ok(asked.unwrap_or(room)),
        }
    }

    /// An id for a request that came without: unique over restarts as well, so that logs of several runs can be read together.
    ///
    /// # Errors
    /// Never in practice: the id is short and visible.
    pub fn choose_id(&self) -> Result<RequestId, FieldViolation> {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        RequestId::try_from(format!("req-{:012x}-{number}", fnv1a("request", now_nanos()) >> 16))
    }
}

/// Where the wire carries the prompt.
fn field(input: &Input) -> &'static str {
    match input {
        Input::TokenIds(_) => "token_ids.ids",
        Input::Text(_) => "text",
        Input::Chat(_) => "chat.messages",
    }
}

/// The end of a prompt that the predictor may be told.
pub(crate) fn last_characters(text: &str) -> String {
    let from = text.char_indices().nth_back(limits::PROMPT_CHARACTERS - 1).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

fn now_nanos() -> u64 {
    // The low 64 bits are the ones that change.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
