//! One live request: its tokens, its sampler, and where its reply goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{
    Chunk, Complete, FinishReason, LengthEstimate, MatchedStop, RankedToken, ReplyEvent, RequestId, StepEvent,
    TokenLogprob,
};
use eoscast_proto::status::ServiceError;
use eoscast_sched::{BlockHash, RemainingLength, RequestKey};

use super::command::Submission;
use super::live_ids::LiveId;
use super::output::{OutputText, Progress};
use super::prepare::PreparedRequest;
use super::prompt_scores::PromptScores;
use super::reply::ReplySender;
use super::turns::Turn;
use crate::bounds::Place;
use crate::link::EstimateTable;
use crate::metrics::FinishedRequest;
use crate::runner::length_control::eos_bias;
use crate::runner::sampler::{Sample, Sampler, rank};
use crate::runner::sketch;
use crate::runner::{LogitRows, OutputRow, TokenSets};
use eoscast_kernels::Pool;
use eoscast_model::text::Vocabulary;

/// What a token brings, to whom.
pub(crate) struct NextToken {
    /// To the predictor.
    pub(crate) event: StepEvent,
    /// To the scheduler.
    pub(crate) ending: Option<Ending>,
    /// To the client.
    pub(crate) chunk: Chunk,
}

/// A drawn token that its sequence does not contain yet.
pub(crate) struct Draw {
    sample: Sample,
    /// Empty at steps whose sketch is not sent.
    sketch: Arc<[f32]>,
}

/// A request in the engine.
pub(crate) struct Sequence {
    pub(crate) request: PreparedRequest,
    /// Prompt, then reply.
    pub(crate) tokens: Vec<u32>,
    /// While it is hidden from the scheduler: what that knew of them, so that they are not hashed again.
    pub(crate) block_hashes: Vec<BlockHash>,
    sampler: Sampler,
    output: OutputText,
    /// Until the first token is drawn, if the prompt is reported.
    prompt_scores: Option<PromptScores>,
    reply: ReplySender,
    submitted: Instant,
    admitted: Option<Instant>,
    pub(crate) last_token: Option<Instant>,
    first_token: Option<Instant>,
    preemptions: u32,
    /// Tokens that the prefix cache had on the first admission.
    cached: Option<u32>,
    /// Until it is admitted.
    place: Option<Place>,
    live: LiveId,
}

/// The predictor's word on a reply before its next token.
#[derive(Default)]
pub(crate) struct CurrentForecast {
    /// For the client, if it asked and there is one.
    pub(crate) estimate: Option<LengthEstimate>,
    /// For length control, if it is on and there is a fresh one.
    pub(crate) remaining: Option<RemainingLength>,
}

/// Why a reply ended, and by what.
pub(crate) type Ending = (FinishReason, Option<MatchedStop>);

impl Sequence {
    pub(crate) fn new(submission: Submission, sets: Arc<TokenSets>) -> Self {
        let Submission { request, reply, submitted, live, place } = submission;
        Self {
            sampler: Sampler::new(request.sampling.clone(), request.seed, sets, &request.prompt),
            output: OutputText::new(request.sampling.stop.clone()),
            prompt_scores: request
                .sampling
                .logprobs
                .filter(|_| request.sampling.prompt_logprobs)
                .map(|top| PromptScores::new(request.prompt.len(), top)),
            tokens: request.prompt.clone(),
            block_hashes: Vec::new(),
            request,
            reply,
            submitted,
            admitted: None,
            last_token: None,
            first_token: None,
            preemptions: 0,
            cached: None,
            place: Some(place),
            live,
        }
    }

    pub(crate) fn id(&self) -> &RequestId {
        &self.request.request_id
    }

    pub(crate) fn prompt_tokens(&self) -> u32 {
        // Bounded by the context length.
        self.request.prompt.len() as u32
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

    /// Whether its place in the queue went to another client.
    pub(crate) fn has_lost_its_place(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_lost)
    }

    /// The request `key` as one that waits or runs.
    pub(crate) fn turn(&self, key: RequestKey) -> Turn {
        Turn { client: self.request.client, priority: self.request.priority, key }
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.request.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the prompt's tokens are reported, which needs rows that the prefix cache does not have.
    pub(crate) fn reports_prompt(&self) -> bool {
        self.request.sampling.prompt_logprobs
    }

    /// Whether tokens of the prompt are still to be ranked.
    pub(crate) fn scores_prompt(&self) -> bool {
        self.prompt_scores.is_some()
    }

    /// The rows wanted of the sequence's part of a step, which starts at position `start` and `samples` or not.
    pub(crate) fn logit_rows(&self, start: usize, samples: bool) -> LogitRows {
        match &self.prompt_scores {
            Some(scores) if scores.wants(start) => LogitRows::All,
            _ if samples => LogitRows::Last,
            _ => LogitRows::None,
        }
    }

    /// Ranks the tokens of the prompt that follow position `start` by their rows. False if one is no distribution.
    pub(crate) fn score_prompt(&mut self, start: usize, rows: &[&[f32]]) -> bool {
        let Some(scores) = &mut self.prompt_scores else { return true };
        let next = self.request.prompt.get(start + 1..).unwrap_or_default();
        let count = rows.len().min(next.len());
        let rankings = Pool::global().map(count, |row| rank(rows[row], next[row], scores.top()));
        let are_distributions = rankings.iter().all(Option::is_some);
        scores.add(start, rankings.into_iter().flatten());
        are_distributions
    }

    /// It is in the step that begins, with work from position `start` on. Whether for the first time.
    pub(crate) fn on_scheduled(&mut self, now: Instant, start: u32) -> bool {
        self.admitted.get_or_insert(now);
        self.cached.get_or_insert(start);
        self.place.take().is_some()
    }

    pub(crate) fn on_preempted(&mut self) {
        self.preemptions += 1;
    }

    /// What `estimates` hold for its next token; one more than `max_age` tokens old does not count as a forecast.
    pub(crate) fn current_forecast(&self, estimates: &EstimateTable, max_age: u32) -> CurrentForecast {
        let shown = self.request.include_estimate.then(|| estimates.latest(self.id()).cloned());
        let controlled = self.request.sampling.length_control.is_some();
        let remaining = controlled.then(|| estimates.fresh_forecast(self.id(), self.generated(), max_age));
        CurrentForecast { estimate: shown.flatten(), remaining: remaining.flatten() }
    }

    /// Draws the next token from its row; `remaining` is for length control. `None` if the logits are no distribution.
    pub(crate) fn draw(
        &self,
        row: OutputRow<'_>,
        scratch: &mut Vec<f32>,
        remaining: Option<&RemainingLength>,
    ) -> Option<Draw> {
        let generated = self.generated();
        let step = generated + 1;
        let control = self.request.sampling.length_control;
        let eos_bias = control.map_or(0.0, |control| eos_bias(control, generated, remaining));
        let sample = self.sampler.sample(row.logits, scratch, step, eos_bias)?;
        Some(Draw { sample, sketch: if sketch::is_sent(step) { row.sketch.into() } else { [].into() } })
    }

    /// Appends a drawn token. The client's chunk carries `estimate`.
    pub(crate) fn advance(
        &mut self,
        Draw { sample, sketch }: Draw,
        estimate: Option<LengthEstimate>,
        vocabulary: &dyn Vocabulary,
        now: Instant,
    ) -> NextToken {
        self.sampler.accept(sample.token_id);
        self.tokens.push(sample.token_id);
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        let step = self.generated();
        let before = self.output.characters();
        let (text, ending) = self.judge(sample.token_id, step, vocabulary);
        // A stop text takes back what its tokens began.
        let text_offset = before.min(self.output.characters());
        let event = StepEvent {
            request_id: self.id().clone(),
            step,
            token_id: sample.token_id,
            signals: sample.signals,
            finish_reason: ending.as_ref().map(|(reason, _)| *reason),
            eos_bias: sample.eos_bias,
            sketch,
        };
        NextToken { event, ending, chunk: self.chunk(text, text_offset, sample, estimate, vocabulary) }
    }

    /// Sends the client what a token brought.
    ///
    /// # Errors
    /// `ResourceExhausted` if too much is unread: the reply has to end.
    pub(crate) fn show(&self, chunk: Chunk) -> Result<(), ServiceError> {
        self.reply.send(chunk)
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
        &mut self,
        text: String,
        text_offset: u32,
        sample: Sample,
        estimate: Option<LengthEstimate>,
        vocabulary: &dyn Vocabulary,
    ) -> Chunk {
        let ranked = |(id, logprob)| RankedToken::new(id, logprob, vocabulary.token_bytes(id));
        let logprobs = self.request.sampling.logprobs.map(|_| TokenLogprob {
            token: ranked((sample.token_id, sample.signals.token_logprob)),
            top: sample.top.into_iter().map(ranked).collect(),
            text_offset,
        });
        let scores = self.prompt_scores.take();
        Chunk {
            text,
            prompt_logprobs: scores
                .map_or_else(Vec::new, |scores| scores.into_logprobs(&self.request.prompt, vocabulary)),
            token_ids: vec![sample.token_id],
            logprobs: logprobs.into_iter().collect(),
            eos_logprobs: if self.request.include_eos_logprob { vec![sample.signals.eos_logprob] } else { Vec::new() },
            estimate,
        }
    }

    /// Tells the client that the reply ended. Its id is free by then.
    pub(crate) fn complete(self, ending: Ending, first_estimate: Option<LengthEstimate>, summary: &FinishedRequest) {
        let (finish_reason, matched_stop) = ending;
        let complete = Complete {
            request_id: self.id().clone(),
            finish_reason,
            matched_stop,
            prompt_tokens: summary.prompt_tokens,
            cached_prompt_tokens: self.cached.unwrap_or(0),
            completion_tokens: summary.generated_tokens,
            preemptions: self.preemptions,
            queue: summary.admitted.unwrap_or_default(),
            first_token: summary.first_token.unwrap_or_default(),
            total: summary.total,
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
        self.reply.end(last);
    }

    /// Time since the submission.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now - self.submitted
    }

    /// What became of it.
    pub(crate) fn finished(&self, reason: FinishReason, now: Instant) -> FinishedRequest {
        let since = |at: Instant| at - self.submitted;
        FinishedRequest {
            reason,
            prompt_tokens: self.prompt_tokens(),
            generated_tokens: self.generated(),
            admitted: self.admitted.map(since),
            first_token: self.first_token.map(since),
            last_token: self.last_token.map(since),
            total: self.age(now),
        }
    }
}
