//! A job through the engine: one engine request a choice, their replies merged into one answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use eoscast_proto::domain::{Chunk, GenerateSpec, ReplyEvent, RequestId, task_label};
use eoscast_proto::status::{FieldViolation, ServiceError};
use serde::Serialize;
use tokio_stream::{Stream, StreamExt, StreamMap};
use tokio_util::sync::CancellationToken;

use super::app::{App, now_seconds};
use super::delivery::StreamOptions;
use super::endpoint_fields::EndpointFields;
use super::error::ApiError;
use super::fields::Fields;
use super::job::Job;
use super::response::{Endpoint, Envelope, Piece, Usage};
use super::whole_answer::{self, to_json};
use crate::bounds::{ByteAccount, ClientKey};
use crate::client_id::{self, REQUEST_ID};
use crate::engine::{EncodeOptions, PreparedRequest, ReplyStream, RequestPreparer, Unread};

/// Header that labels the kind of work, for clients that cannot add a field to the body.
const TASK: &str = "x-eoscast-task";

/// Most choices of one request, over all its prompts.
const MAX_CHOICES: usize = 256;

/// Most bytes of prompts that replies start with, over all choices.
const MOST_ECHOED_BYTES: usize = 16 << 20;

/// The handler of `endpoint`.
pub(super) async fn handle(
    endpoint: Endpoint,
    app: App,
    client: ClientKey,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    app.check_model(&mut fields)?;
    let job = Job::read(endpoint, &mut fields, app.unknown_fields)?;
    respond(app, client, &headers, job, fields.into_account()).await
}

/// Runs a job. Dropping the answer, as happens when the client leaves, frees its slots in the engine.
///
/// # Errors
/// A field that is wrong, or an engine that refuses or fails before the answer begins.
async fn respond(
    app: App,
    client: ClientKey,
    headers: &HeaderMap,
    mut job: Job,
    account: Option<ByteAccount>,
) -> Result<Response, ApiError> {
    check_choices(&job)?;
    let id = app.preparer.choose_id(job.endpoint.id_prefix())?;
    let client_id = client_id::given(headers)?.map(str::to_owned);
    if job.delivery.task.is_none() {
        job.delivery.task = task_label(header(headers, TASK)?.unwrap_or_default())?;
    }
    let envelope = Envelope {
        endpoint: job.endpoint,
        id: id.to_string(),
        created: now_seconds(),
        model: app.model_name().to_owned(),
        fingerprint: Arc::clone(&app.fingerprint),
        forecast: job.delivery.forecast,
        preparer: Arc::clone(&app.preparer),
    };
    let (stream, prompt_only) = (job.delivery.stream, job.own.prompt_only);
    let preparer = Arc::clone(&app.preparer);
    let sender = Sender { client, client_request_id: client_id };
    let bytes = account.as_ref().map_or(0, ByteAccount::used);
    let prepared = app.engine.encoders().run(client, bytes, move |cancelled| {
        let _account = account;
        prepare(&preparer, &id, &sender, job, cancelled)
    });
    let Prepared { usage, requests, openings } = prepared.await?;
    let replies = app.engine.submit_all(requests)?;
    for (reply, opening) in replies.iter().zip(&openings) {
        reply.hold(opening.text.len()).map_err(ApiError::of_reply)?;
    }

    let unread = stream.is_none().then(|| replies.iter().map(ReplyStream::gather).collect());
    let pieces = pieces(replies, openings.iter().map(|opening| opening.echoed).collect(), prompt_only);
    // For a client that gave no name of its own.
    let headers = [(REQUEST_ID, envelope.id.clone())];
    Ok(match stream {
        None => (headers, whole(pieces, openings, usage, &envelope, unread.unwrap_or_default()).await?).into_response(),
        Some(options) => {
            let events = Events::new(pieces, openings, usage, envelope, options);
            (headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response()
        }
    })
}

fn check_choices(job: &Job) -> Result<(), FieldViolation> {
    let n = job.delivery.n as usize;
    if n == 0 || n > MAX_CHOICES {
        return Err(FieldViolation::new("n", format!("must be 1 to {MAX_CHOICES}, got {n}")));
    }
    if job.own.inputs.len() * n > MAX_CHOICES {
        let prompts = job.own.inputs.len();
        let description =
            format!("{prompts} prompts of {n} choices each are more than {MAX_CHOICES}: send fewer at once");
        return Err(FieldViolation::new("prompt", description));
    }
    Ok(())
}

fn header(headers: &HeaderMap, name: &str) -> Result<Option<String>, FieldViolation> {
    let text = |value: &axum::http::HeaderValue| {
        value.to_str().map(str::to_owned).map_err(|_| FieldViolation::new(name, "must be visible ASCII characters"))
    };
    headers.get(name).map(text).transpose()
}

/// Who sent a job.
struct Sender {
    client: ClientKey,
    /// What the client calls it.
    client_request_id: Option<String>,
}

/// A job as engine requests, one a choice.
struct Prepared {
    usage: Usage,
    requests: Vec<PreparedRequest>,
    /// What the choices begin with: nothing, or their prompts.
    openings: Vec<Piece>,
}

/// One engine request a choice. Choice `k` of a prompt samples with the prompt's seed plus `k`, so that it is the same
/// whatever other prompts and however many choices are asked for.
fn prepare(
    preparer: &RequestPreparer,
    id: &RequestId,
    sender: &Sender,
    job: Job,
    cancelled: &CancellationToken,
) -> Result<Prepared, ServiceError> {
    let Job { own: EndpointFields { inputs, echo, bare, .. }, sampling, delivery, terms, .. } = job;
    let (mut prompt_tokens, mut requests, mut openings) = (0, Vec::new(), Vec::new());
    let (choices, mut echoed_bytes) = (inputs.len() * delivery.n as usize, 0);
    let options = EncodeOptions { bare, all: false, cancelled };
    for (i, input) in inputs.into_iter().enumerate() {
        let to_echo = echo.then(|| input.clone());
        let spec = GenerateSpec {
            request_id: Some(id.clone()),
            input,
            sampling: sampling.clone(),
            priority: delivery.priority,
            task: delivery.task.clone(),
            include_eos_logprob: false,
            include_estimate: delivery.forecast,
        };
        let request = preparer.prepare_with(spec, None, options).map_err(|error| terms.translate_prompt(i, error))?;
        prompt_tokens += request.prompt.len();
        let opening = to_echo.map_or_else(String::new, |input| preparer.text_of(&input).into_owned());
        let echoed = opening.chars().count() as u32;
        echoed_bytes += opening.len() * delivery.n as usize;
        if echoed_bytes > MOST_ECHOED_BYTES {
            let description =
                format!("all prompts in all choices are more than {} MiB: ask for fewer", MOST_ECHOED_BYTES >> 20);
            return Err(FieldViolation::new("echo", description).into());
        }
        for k in 0..delivery.n {
            openings.push(Piece { index: requests.len(), text: opening.clone(), echoed, ..Piece::default() });
            let request_id = match choices {
                1 => id.clone(),
                _ => RequestId::try_from(format!("{id}-{}", requests.len()))?,
            };
            let seed = request.seed.wrapping_add(k.into());
            let (client, client_request_id) = (sender.client, sender.client_request_id.clone());
            requests.push(PreparedRequest { request_id, client_request_id, client, seed, ..request.clone() });
        }
    }
    Ok(Prepared { usage: Usage::new(prompt_tokens, delivery.n as usize), requests, openings })
}

/// What the replies bring, in the order in which it comes, after `echoed` characters of their prompts.
fn pieces(
    replies: Vec<ReplyStream>,
    echoed: Vec<u32>,
    prompt_only: bool,
) -> impl Stream<Item = Result<Piece, ServiceError>> + Unpin + Send {
    let replies: StreamMap<usize, ReplyStream> = replies.into_iter().enumerate().collect();
    replies.map(move |(index, event)| {
        Ok(match event? {
            ReplyEvent::Complete(complete) => Piece { index, complete: Some(complete), ..Piece::default() },
            ReplyEvent::Chunk(chunk) => {
                let Chunk { text, token_ids, prompt_logprobs, logprobs, estimate, .. } = chunk;
                let piece = Piece { index, echoed: echoed[index], prompt_logprobs, ..Piece::default() };
                if prompt_only { piece } else { Piece { text, tokens: token_ids.len(), logprobs, estimate, ..piece } }
            }
        })
    })
}

/// What is left to say when replies end without a completion.
fn engine_stopped() -> ServiceError {
    ServiceError::Internal("the engine stopped before the reply ended".into())
}

async fn whole(
    mut pieces: impl Stream<Item = Result<Piece, ServiceError>> + Unpin,
    openings: Vec<Piece>,
    mut usage: Usage,
    envelope: &Envelope,
    unread: Vec<Arc<Unread>>,
) -> Result<Response, ApiError> {
    let mut choices = openings;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(ApiError::of_reply)?;
        usage.add(&piece);
        choices[piece.index].append(piece);
    }
    if choices.iter().any(|choice| choice.complete.is_none()) {
        return Err(ApiError::of_reply(engine_stopped()));
    }
    let json = to_json(&envelope.whole(choices, usage)).map_err(ApiError::of_reply)?;
    let counted = unread.iter().map(|reply| reply.bytes()).sum();
    if let Some(first) = unread.first() {
        first.count(json.len().saturating_sub(counted));
    }
    Ok(whole_answer::respond(json, unread))
}

/// An answer as server-sent events, `[DONE]` at the end.
struct Events<S> {
    /// None when all is said.
    pieces: Option<S>,
    /// Choices that have not ended.
    open: usize,
    usage: Usage,
    options: StreamOptions,
    envelope: Envelope,
    ready: VecDeque<Result<Event, axum::Error>>,
}

impl<S> Events<S> {
    fn new(pieces: S, openings: Vec<Piece>, usage: Usage, envelope: Envelope, options: StreamOptions) -> Self {
        let open = openings.len();
        let mut events = Self { pieces: Some(pieces), open, usage, options, envelope, ready: VecDeque::new() };
        for opening in openings {
            let opening = events.envelope.opening(opening, events.usage_so_far()).map(|body| event(&body));
            events.ready.extend(opening);
        }
        events
    }

    /// None if no chunk carries the usage; `Some(None)`, which is null, if only the last one does.
    fn usage_so_far(&self) -> Option<Option<Usage>> {
        self.options.include_usage.then(|| self.options.continuous_usage.then_some(self.usage))
    }

    fn on_piece(&mut self, piece: Piece) {
        self.usage.add(&piece);
        if piece.complete.is_some() {
            self.open -= 1;
        }
        if !piece.is_empty() {
            let event = event(&self.envelope.chunk(piece, self.usage_so_far()));
            self.ready.push_back(event);
        }
    }

    fn on_end(&mut self, error: Option<ServiceError>) {
        self.pieces = None;
        match error {
            Some(error) => self.ready.push_back(event(&ApiError::from(error).into_object())),
            None if self.options.include_usage => self.ready.push_back(event(&self.envelope.usage(self.usage))),
            None => {}
        }
        self.ready.push_back(Ok(Event::default().data("[DONE]")));
    }
}

impl<S: Stream<Item = Result<Piece, ServiceError>> + Unpin> Stream for Events<S> {
    type Item = Result<Event, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let events = &mut *self;
        loop {
            if let Some(event) = events.ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            let Some(pieces) = &mut events.pieces else { return Poll::Ready(None) };
            match ready!(Pin::new(pieces).poll_next(cx)) {
                Some(Ok(piece)) => events.on_piece(piece),
                Some(Err(error)) => events.on_end(Some(error)),
                None if events.open > 0 => events.on_end(Some(engine_stopped())),
                None => events.on_end(None),
            }
        }
    }
}

fn event(data: &impl Serialize) -> Result<Event, axum::Error> {
    Event::default().json_data(data)
}
