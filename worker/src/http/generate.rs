//! A job through the engine: one engine request a choice, their replies merged into one answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Json;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use eoscast_proto::domain::{GenerateSpec, ReplyEvent, RequestId, task_label};
use eoscast_proto::status::{FieldViolation, ServiceError};
use serde::Serialize;
use tokio_stream::{Stream, StreamExt, StreamMap};

use super::app::{App, now_seconds};
use super::error::{ApiError, REQUEST_ID};
use super::fields::Fields;
use super::job::Job;
use super::logprobs::characters;
use super::response::{Body, Endpoint, Envelope, Piece, Usage};
use super::sampling::StreamOptions;
use crate::engine::{PreparedRequest, ReplyStream, RequestPreparer};

/// Header that labels the kind of work, for clients that cannot add a field to the body.
const TASK: &str = "x-eoscast-task";

/// Most choices of one request, over all its prompts.
const MAX_CHOICES: usize = 256;

/// The handler of `endpoint`.
pub(super) async fn handle(
    endpoint: Endpoint,
    app: App,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    app.check_model(&mut fields)?;
    let job = Job::read(endpoint, &mut fields)?;
    respond(app, &headers, job).await
}

/// Runs a job. Dropping the answer, as happens when the client leaves, frees its slots in the engine.
///
/// # Errors
/// A field that is wrong, or an engine that refuses or fails before the answer begins.
async fn respond(app: App, headers: &HeaderMap, mut job: Job) -> Result<Response, ApiError> {
    check_choices(&job)?;
    let id = match header(headers, REQUEST_ID)? {
        Some(id) => RequestId::try_from(id)?,
        None => app.preparer.choose_id()?,
    };
    if job.options.task.is_none() {
        job.options.task = task_label(header(headers, TASK)?.unwrap_or_default())?;
    }
    let envelope = Envelope {
        endpoint: job.endpoint,
        id: id.to_string(),
        created: now_seconds(),
        model: app.engine.model().name.clone(),
        forecast: job.options.forecast,
        preparer: Arc::clone(&app.preparer),
    };
    let stream = job.options.stream;
    let preparer = Arc::clone(&app.preparer);
    let (usage, requests) = tokio::task::spawn_blocking(move || prepare(&preparer, &id, job))
        .await
        .map_err(|error| ServiceError::Internal(format!("preparing the request failed: {error}")))??;
    // If one is refused, the others are dropped, which frees their places.
    let replies = requests.into_iter().map(|request| app.engine.submit(request)).collect::<Result<Vec<_>, _>>()?;

    let headers = [(REQUEST_ID, envelope.id.clone())];
    Ok(match stream {
        None => (headers, Json(whole(replies, usage, &envelope).await?)).into_response(),
        Some(options) => {
            let choices = replies.len();
            let events = Events::new(pieces(replies), choices, usage, envelope, options);
            (headers, Sse::new(events).keep_alive(KeepAlive::default())).into_response()
        }
    })
}

fn check_choices(job: &Job) -> Result<(), FieldViolation> {
    let n = job.options.n as usize;
    if n == 0 || n > MAX_CHOICES {
        return Err(FieldViolation::new("n", format!("must be 1 to {MAX_CHOICES}, got {n}")));
    }
    if job.inputs.len() * n > MAX_CHOICES {
        let prompts = job.inputs.len();
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

/// One engine request a choice. Choice `k` of a prompt samples with the prompt's seed plus `k`, so that it is the same
/// whatever other prompts and however many choices are asked for.
fn prepare(
    preparer: &RequestPreparer,
    id: &RequestId,
    job: Job,
) -> Result<(Usage, Vec<PreparedRequest>), ServiceError> {
    let Job { inputs, sampling, options, terms, .. } = job;
    let (mut prompt_tokens, mut requests) = (0, Vec::new());
    let choices = inputs.len() * options.n as usize;
    for (i, input) in inputs.into_iter().enumerate() {
        let spec = GenerateSpec {
            request_id: Some(id.clone()),
            input,
            sampling: sampling.clone(),
            priority: options.priority,
            task: options.task.clone(),
            include_eos_logprob: false,
            include_estimate: options.forecast,
        };
        let request = preparer.prepare(spec, None).map_err(|error| terms.translate_prompt(i, error))?;
        prompt_tokens += request.prompt.len();
        for k in 0..options.n {
            let request_id = match choices {
                1 => id.clone(),
                _ => RequestId::try_from(format!("{id}-{}", requests.len()))?,
            };
            let seed = request.seed.wrapping_add(k.into());
            requests.push(PreparedRequest { request_id, seed, ..request.clone() });
        }
    }
    Ok((Usage::new(prompt_tokens), requests))
}

/// What the replies bring, in the order in which it comes.
fn pieces(replies: Vec<ReplyStream>) -> impl Stream<Item = Result<Piece, ServiceError>> + Unpin + Send {
    let mut offsets = vec![0; replies.len()];
    let replies: StreamMap<usize, ReplyStream> = replies.into_iter().enumerate().collect();
    replies.map(move |(index, event)| {
        Ok(match event? {
            ReplyEvent::Complete(complete) => Piece { index, complete: Some(complete), ..Piece::default() },
            ReplyEvent::Chunk(chunk) => {
                let offset = offsets[index];
                offsets[index] += chunk.logprobs.iter().map(characters).sum::<usize>();
                let (text, logprobs, estimate) = (chunk.text, chunk.logprobs, chunk.estimate);
                Piece { index, text, offset, logprobs, estimate, complete: None }
            }
        })
    })
}

/// What is left to say when replies end without a completion.
fn engine_stopped() -> ServiceError {
    ServiceError::Internal("the engine stopped before the reply ended".into())
}

async fn whole(replies: Vec<ReplyStream>, mut usage: Usage, envelope: &Envelope) -> Result<Body<'_>, ApiError> {
    let mut choices: Vec<Piece> = (0..replies.len()).map(|index| Piece { index, ..Piece::default() }).collect();
    let mut pieces = pieces(replies);
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if let Some(complete) = &piece.complete {
            usage.add(complete);
        }
        choices[piece.index].append(piece);
    }
    if choices.iter().any(|choice| choice.complete.is_none()) {
        return Err(engine_stopped().into());
    }
    Ok(envelope.whole(choices, usage))
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
    fn new(pieces: S, choices: usize, usage: Usage, envelope: Envelope, options: StreamOptions) -> Self {
        let mut events = Self { pieces: Some(pieces), open: choices, usage, options, envelope, ready: VecDeque::new() };
        for index in 0..choices {
            let opening = events.envelope.opening(index, events.no_usage_yet()).map(|body| event(&body));
            events.ready.extend(opening);
        }
        events
    }

    /// Null where a later chunk tells the usage, absent where none does.
    fn no_usage_yet(&self) -> Option<Option<Usage>> {
        self.options.include_usage.then_some(None)
    }

    fn on_piece(&mut self, piece: Piece) {
        if let Some(complete) = &piece.complete {
            self.usage.add(complete);
            self.open -= 1;
        }
        if !piece.is_empty() {
            let event = event(&self.envelope.chunk(piece, self.no_usage_yet()));
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
