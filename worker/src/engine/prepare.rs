//! A request checked against the model: tokens, limits and defaults settled. Only a [`PreparedRequest`] reaches the engine.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use eoscast_proto::domain::{GenerateSpec, Input, RequestId, RequestStarted, SamplingParams, limits};
use eoscast_proto::hash::fnv1a;
use eoscast_proto::status::{FieldViolation, ServiceError};

use tokio_util::sync::CancellationToken;

use super::conversation::{ConversationRenderer, RenderError};
use crate::bounds::{ClientKey, RETRY_AFTER};
use crate::runner::ModelSpec;
use eoscast_model::text::{ChatTemplate, ChatTemplateError, Tokenizer};

/// A request with everything settled.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// Given by the client or chosen here.
    pub request_id: RequestId,
    /// What the client calls it in an `x-request-id`, for the logs. Several requests may have the same.
    pub client_request_id: Option<String>,
    /// Who sent it.
    pub client: ClientKey,
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

/// How a prompt becomes tokens.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions<'a> {
    /// A text gets no tokens that the model wants before a prompt.
    pub bare: bool,
    /// Also those that leave no room for a reply.
    pub all: bool,
    /// Nobody waits for the tokens any longer.
    pub cancelled: &'a CancellationToken,
}

/// Turns requests into prepared ones.
pub struct RequestPreparer {
    tokenizer: std::sync::Arc<Tokenizer>,
    conversations: Option<ConversationRenderer>,
    vocab_size: usize,
    context_length: usize,
    /// Set by `--max-model-len`; `usize::MAX` without it.
    max_model_len: usize,
    kv_tokens: usize,
    next_id: AtomicU64,
}

impl RequestPreparer {
    /// For the model of `spec`, whose cache is the KV budget.
    pub fn new(tokenizer: std::sync::Arc<Tokenizer>, chat_template: Option<ChatTemplate>, spec: &ModelSpec) -> Self {
        Self {
            tokenizer,
            conversations: chat_template.map(ConversationRenderer::new),
            vocab_size: spec.vocab_size,
            context_length: spec.context_length,
            max_model_len: usize::MAX,
            kv_tokens: spec.num_blocks * spec.block_size,
            next_id: AtomicU64::new(1),
        }
    }

    /// The same with at most so many tokens of a prompt and its reply together.
    #[must_use]
    pub fn with_max_model_len(self, tokens: usize) -> Self {
        Self { max_model_len: tokens, ..self }
    }

    /// The tokenizer of the model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Source of the model's chat template.
    pub fn chat_template_source(&self) -> Option<&str> {
        self.conversations.as_ref().map(|renderer| renderer.template().source())
    }

    /// Tokenises and checks. Costs time in proportion to the prompt: not for an async thread.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field, if the prompt or `max_tokens` does not fit, an id is unknown, or the chat template
    /// refuses the messages.
    pub fn prepare(&self, spec: GenerateSpec, deadline: Option<Instant>) -> Result<PreparedRequest, ServiceError> {
        self.prepare_with(
            spec,
            deadline,
            EncodeOptions { bare: false, all: false, cancelled: &CancellationToken::new() },
        )
    }

    /// The same for a client that may leave meanwhile.
    ///
    /// # Errors
    /// As of [`prepare`](Self::prepare); `Unavailable` if the client has left.
    pub fn prepare_with(
        &self,
        spec: GenerateSpec,
        deadline: Option<Instant>,
        options: EncodeOptions<'_>,
    ) -> Result<PreparedRequest, ServiceError> {
        let field = field(&spec.input);
        let prompt = self.encode(&spec.input, options)?;
        if let Some(id) = prompt.iter().find(|id| **id as usize >= self.vocab_size) {
            let most = self.vocab_size - 1;
            return Err(FieldViolation::new(field, format!("token {id} is not in the vocabulary (0 to {most})")).into());
        }
        let stops = spec.sampling.stop_token_ids.iter().map(|id| (id, "sampling_params.stop_token_ids"));
        let biased = spec.sampling.logit_bias.keys().map(|id| (id, "sampling_params.logit_bias"));
        if let Some((id, field)) = stops.chain(biased).find(|(id, _)| **id as usize >= self.vocab_size) {
            return Err(FieldViolation::new(field, format!("token {id} is not in the vocabulary")).into());
        }
        let max_tokens = self.max_tokens(field, prompt.len(), &spec.sampling)?;
        let prompt_text = Some(last_characters(&self.text_of(&spec.input)));
        let request_id = match spec.request_id {
            Some(id) => id,
            None => self.choose_id("req")?,
        };
        Ok(PreparedRequest {
            client_request_id: None,
            client: ClientKey::default(),
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
    /// `InvalidArgument` naming the field, if the chat template refuses the messages or the model has none, or if the bytes of the text
    /// are too many for any tokens that fit; `ResourceExhausted` if too many other chats are being rendered; `Unavailable` if the client has left.
    pub fn encode(&self, input: &Input, options: EncodeOptions<'_>) -> Result<Vec<u32>, ServiceError> {
        let internal = |error: &dyn std::fmt::Display| ServiceError::Internal(error.to_string());
        match input {
            Input::TokenIds(ids) => Ok(ids.clone()),
            Input::Text(text) => {
                let start = self.tokenizer.prompt_start().filter(|_| !options.bare);
                self.encode_text(text, start, field(input), options)
            }
            Input::Chat(conversation) => {
                let renderer = self.conversations.as_ref().ok_or_else(|| {
                    FieldViolation::new("chat", "the model has no chat template: send text or token_ids")
                })?;
                let text = renderer.render(conversation).map_err(|error| match error {
                    RenderError::NothingToContinue => {
                        let description =
                            "the chat template leaves out the last message, so that no reply can continue it";
                        FieldViolation::new("continue_final_message", description).into()
                    }
                    RenderError::Template(error @ ChatTemplateError::Busy) => {
                        ServiceError::ResourceExhausted { message: error.to_string(), retry_after: RETRY_AFTER }
                    }
                    RenderError::Template(error @ ChatTemplateError::NoProcess(_)) => internal(&error),
                    // A template that is faulty costs the chat only: a client that sends text is served.
                    RenderError::Template(error) => FieldViolation::new(field(input), error.to_string()).into(),
                })?;
                self.encode_text(&text, None, field(input), options)
            }
        }
    }

    /// The tokens of a text after `start`, a part at a time.
    fn encode_text(
        &self,
        text: &str,
        start: Option<u32>,
        field: &str,
        EncodeOptions { all, cancelled, .. }: EncodeOptions<'_>,
    ) -> Result<Vec<u32>, ServiceError> {
        let (limit, what) = self.token_limit();
        let least = self.tokenizer.least_tokens(text);
        if least > limit {
            let (bytes, most) = (text.len(), self.tokenizer.most_bytes_per_token().unwrap_or(0));
            let description = format!(
                "{bytes} bytes are at least {least} tokens, of up to {most} bytes each, and exceed the {what} of {limit} tokens"
            );
            return Err(FieldViolation::new(field, description).into());
        }
        let mut ids: Vec<u32> = start.into_iter().collect();
        for part in self.tokenizer.encode_in_parts(text) {
            if cancelled.is_cancelled() {
                return Err(ServiceError::Unavailable("the client has left".into()));
            }
            if !all && ids.len() > limit {
                let description =
                    format!("prompt of more than {limit} tokens leaves no room for a reply in the {what}");
                return Err(FieldViolation::new(field, description).into());
            }
            ids.extend(part.map_err(|error| ServiceError::Internal(error.to_string()))?);
        }
        Ok(ids)
    }

    /// A prompt as text: of a chat what the user says last.
    pub fn text_of<'a>(&self, input: &'a Input) -> Cow<'a, str> {
        match input {
            Input::Text(text) => Cow::Borrowed(text),
            Input::TokenIds(ids) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| self.tokenizer.token_bytes(*id)).copied().collect();
                Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
            }
            Input::Chat(conversation) => {
                let user = conversation.messages.iter().rfind(|message| message.role == "user");
                Cow::Borrowed(user.map_or("", |message| &message.content))
            }
        }
    }

    /// Most tokens of a prompt and its reply together, and what sets that limit.
    pub fn token_limit(&self) -> (usize, &'static str) {
        let context = self.context_length();
        if self.kv_tokens < context {
            (self.kv_tokens, "KV budget (--kv-tokens)")
        } else if context < self.context_length {
            (context, "context (--max-model-len)")
        } else {
            (context, "context of the model")
        }
    }

    /// Tokens that a prompt and its reply may have, if the KV budget holds them.
    pub fn context_length(&self) -> usize {
        self.context_length.min(self.max_model_len)
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

    /// An id that begins with `prefix` for a request that came without: unique over restarts as well, so that logs of several runs
    /// can be read together.
    ///
    /// # Errors
    /// Never in practice: the id is short and visible.
    pub fn choose_id(&self, prefix: &str) -> Result<RequestId, FieldViolation> {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        RequestId::try_from(format!("{prefix}-{:012x}-{number}", fnv1a("request", now_nanos()) >> 16))
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
