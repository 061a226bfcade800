//! One live request: its tokens, its sampler, and where its reply goes.

use std::sync::Arc;
use std::time::Instant;

use eoscast_proto::domain::{
    Chunk, Complete, FinishReason, LengthEstimate, MatchedStop, RankedToken, ReplyEvent, RequestId, RequestStarted,
    StepEvent, TokenLogprob,
};
use eoscast_proto::status::ServiceError;
use eoscast_sched::RemainingLength;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::handle::LiveId;
use super::output::{OutputText, Progress};
use super::prepare::PreparedRequest;
use crate::link::estimates::EstimateTable;
use crate::runner::length_control::eos_bias;
use crate::runner::sampler::{Sample, Sampler};
use crate::runner::sketch;
use crate::runner::{ModelSpec, OutputRow, TokenSets};
use eoscast_model::text::Vocabulary;

/// Where a reply goes. Its queue holds at most one message per token, so `max_tokens` bounds it.
pub(crate) type ReplySender = mpsc::UnboundedSender<Result<ReplyEvent, ServiceError>>;

/// A request on its way into the engine, with what it holds until it ends.
pub struct Submission {
    pub(crate) request: PreparedRequest,
    pub(crate) reply: ReplySender,
    pub(crate) submitted: Instant,
    pub(crate) live: LiveId,
    /// Given back on admission.
    pub(crate) queue_slot: OwnedSemaphorePermit,
}

/// What a token brings, to whom.
pub(crate) struct NextToken {
    /// To the predictor.
    pub(crate) event: StepEvent,
    /// To the scheduler.
    pub(crate) ending: Option<Ending>,
    /// To the client.
    pub(crate) chunk: Chunk,
}

/// A request in the engine.
pub(crate) struct Sequence {
    pub(crate) request: PreparedRequest,
    /// Prompt, then reply.
    pub(crate) tokens: Vec<u32>,
    sampler: Sampler,
    output: OutputText,
    reply: ReplySender,
    submitted: Instant,
    admitted: Option<Instant>,
    pub(crate) last_token: Option<Instant>,
    first_token: Option<Instant>,
    preemptions: u32,
    /// Tokens that the prefix cache had on the first admission.
    cached: Option<u32>,
    queue_slot: Option<OwnedSemaphorePermit>,
    live: LiveId,
}

/// What the predictor says of a reply before its next token.
#[derive(Default)]
pub(crate) struct Outlook {
    /// For the client, if it asked and there is one.
    estimate: Option<LengthEstimate>,
    /// For length control, if it is on and there is a fresh one.
    remaining: Option<RemainingLength>,
}

/// Why a reply ended, and by what.
pub(crate) type Ending = (FinishReason, Option<MatchedStop>);

impl Sequence {
    pub(crate) fn new(submission: Submission, sets: Arc<TokenSets>) -> Self {
        let Submission { request, reply, submitted, live, queue_slot } = submission;
        Self {
            sampler: Sampler::new(request.sampling.clone(), request.seed, sets, &request.prompt),
            output: OutputText::new(request.sampling.stop.clone()),
            tokens: request.prompt.clone(),
            request,
            reply,
            submitted,
            admitted: None,
            last_token: None,
            first_token: None,
            preemptions: 0,
            cached: None,
            queue_slot: Some(queue_slot),
            live,
        }
    }

    pub(crate) fn id(&self) -> &RequestId {
        &self.request.request_id
    }

    /// Tokens generated.
    pub(crate) fn generated(&self) -> u32 {
        // Bounded by max_tokens.
        (self.tokens.len() - self.request.prompt.len()) as u32
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.request.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// It is in the step that begins, with work from position `start` on.
    pub(crate) fn on_scheduled(&mut self, now: Instant, start: u32) {
        self.admitted.get_or_insert(now);
        self.cached.get_or_insert(start);
        self.queue_slot = None;
    }

    pub(crate) fn on_preempted(&mut self) {
        self.preemptions += 1;
    }

    /// What `estimates` hold for its next token; one more than `max_age` tokens old does not count as a forecast.
    pub(crate) fn outlook(&self, estimates: &EstimateTable, max_age: u32) -> Outlook {
        let shown = self.request.include_estimate.then(|| estimates.latest(self.id()).cloned());
        let controlled = self.request.sampling.length_control.is_some();
        let remaining = controlled.then(|| estimates.fresh_forecast(self.id(), self.generated(), max_age));
        Outlook { estimate: shown.flatten(), remaining: remaining.flatten() }
    }

    /// Draws the next token from its row. `None` if the logits are no distribution.
    pub(crate) fn advance(
        &mut self,
        row: OutputRow<'_>,
        scratch: &mut Vec<f32>,
        vocabulary: &dyn Vocabulary,
        outlook: Outlook,
        now: Instant,
    ) -> Option<NextToken> {
        let generated = self.generated();
        let step = generated + 1;
        let control = self.request.sampling.length_control;
        let eos_bias = control.map_or(0.0, |control| eos_bias(control, generated, outlook.remaining.as_ref()));
        let sample = self.sampler.sample(row.logits, scratch, step, eos_bias)?;
        self.tokens.push(sample.token_id);
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        let (text, ending) = self.judge(sample.token_id, step, vocabulary);
        let event = StepEvent {
            request_id: self.id().clone(),
            step,
            token_id: sample.token_id,
            signals: sample.signals,
            finish_reason: ending.as_ref().map(|(reason, _)| *reason),
            eos_bias: sample.eos_bias,
            sketch: if sketch::is_told(step) { row.sketch.into() } else { [].into() },
        };
        Some(NextToken { event, ending, chunk: self.chunk(text, sample, outlook.estimate, vocabulary) })
    }

    /// Sends the client what a token brought.
    pub(crate) fn show(&self, chunk: Chunk) {
        // A closed channel means that the client is gone, which the next step sees.
        let _ = self.reply.send(Ok(ReplyEvent::Chunk(chunk)));
    }

    /// The text that token number `step` brings, and whether the reply ends with it.
    fn judge(&mut self, token: u32, step: u32, vocabulary: &dyn Vocabulary) -> (String, Option<Ending>) {
        if self.sampler.ends(token) {
            let ending = (FinishReason::Stop, Some(MatchedStop::Token(token)));
            return (self.output.finish(), Some(ending));
        }
        match self.output.push(vocabulary.token_bytes(token), step >= self.request.sampling.min_tokens) {
            Progress::Stopped { text, stop } => (text, Some((FinishReason::Stop, Some(MatchedStop::Text(stop))))),
            Progress::Text(text) if step >= self.request.max_tokens => {
                (text + &self.output.finish(), Some((FinishReason::Length, None)))
            }
            Progress::Text(text) => (text, None),
        }
    }

    fn chunk(
        &self,
        text: String,
        sample: Sample,
        estimate: Option<LengthEstimate>,
        vocabulary: &dyn Vocabulary,
    ) -> Chunk {
        let ranked = |(id, logprob)| RankedToken {
            id,
            logprob,
            text: String::from_utf8_lossy(vocabulary.token_bytes(id)).into_owned(),
        };
        let logprobs = self.request.sampling.logprobs.map(|_| TokenLogprob {
            token: ranked((sample.token_id, sample.signals.token_logprob)),
            top: sample.top.into_iter().map(ranked).collect(),
        });
        Chunk {
            text,
            token_ids: vec![sample.token_id],
            logprobs: logprobs.into_iter().collect(),
            eos_logprobs: if self.request.include_eos_logprob { vec![sample.signals.eos_logprob] } else { Vec::new() },
            estimate,
        }
    }

    /// Tells the client that the reply ended. Its id is free by then.
    pub(crate) fn complete(self, ending: Ending, first_estimate: Option<LengthEstimate>, now: Instant) {
        let since = |at: Option<Instant>| at.map_or_else(Default::default, |at| at - self.submitted);
        let (finish_reason, matched_stop) = ending;
        let complete = Complete {
            request_id: self.id().clone(),
            finish_reason,
            matched_stop,
            // Both are bounded by the context length.
            prompt_tokens: self.request.prompt.len() as u32,
            cached_prompt_tokens: self.cached.unwrap_or(0),
            completion_tokens: self.generated(),
            preemptions: self.preemptions,
            queue: since(self.admitted),
            first_token: since(self.first_token),
            total: now - self.submitted,
            first_estimate,
            seed: self.sampler.seed(),
        };
        self.end(Ok(ReplyEvent::Complete(complete)));
    }

    /// Tells the client that the reply failed. Its id is free by then.
    pub(crate) fn fail(self, error: ServiceError) {
        self.end(Err(error));
    }

    fn end(self, last: Result<ReplyEvent, ServiceError>) {
        drop(self.live);
        // The client may be gone.
        let _ = self.reply.send(last);
    }

    /// Seconds from submission to the first token, and to now.
    pub(crate) fn latencies(&self, now: Instant) -> (Option<f64>, f64) {
        let first = self.first_token.map(|at| (at - self.submitted).as_secs_f64());
        (first, (now - self.submitted).as_secs_f64())
    }

    /// What the predictor is told on arrival.
    pub(crate) fn announcement(request: &PreparedRequest, prompt: Option<String>, model: &ModelSpec) -> RequestStarted {
        RequestStarted {
            request_id: request.request_id.clone(),
            model: model.name.clone(),
            eos_token_ids: model.eos_token_ids.clone(),
            prompt_length: request.prompt.len() as u32,
            max_tokens: request.max_tokens,
            temperature: request.sampling.temperature,
            task: request.task.clone(),
            output_length: 0,
            ignore_eos: request.sampling.ignore_eos,
            target_tokens: request.sampling.length_control.map(|control| control.target_tokens),
            prompt,
        }
    }
}
