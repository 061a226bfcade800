//! [`LoggedRequest`]: makes the lines of one request from what its worker tells.

use std::sync::Arc;

use eoscast_proto::domain::{FinishReason, ModelForecast, RequestStarted, StepEvent, WorkerRun};

use crate::prompt::PromptFeatures;
use crate::record::arrival::arrival_of;
use crate::record::{Arrival, RequestLine, StartLine, StepLine};
use crate::running::Running;
use crate::steering::Steering;

/// What the lines of a request need of what came before.
#[derive(Debug, Clone)]
pub struct LoggedRequest {
    started: RequestStarted,
    run: WorkerRun,
    model: Arc<str>,
    task: Option<Arc<str>>,
    prompt: Option<PromptFeatures>,
    started_at: f64,
    seen_at: f64,
    steering: Steering,
    eos_prob: Running,
    observed: u32,
    last_step: u32,
    final_eos_prob: f32,
}

impl LoggedRequest {
    /// A request of `run` that arrived at `at`, seconds since 1970. The prompt's text is not kept.
    pub fn new(mut started: RequestStarted, run: WorkerRun, at: f64) -> Self {
        let prompt = started.prompt.take().map(|text| PromptFeatures::of(&text));
        Self::of_known_prompt(started, run, at, prompt)
    }

    /// The same where only the features of the prompt are known.
    pub fn of_known_prompt(started: RequestStarted, run: WorkerRun, at: f64, prompt: Option<PromptFeatures>) -> Self {
        Self {
            prompt,
            model: started.model.as_str().into(),
            task: started.task.as_deref().map(Arc::from),
            steering: Steering::new(started.target_tokens.is_some(), started.output_length),
            started,
            run,
            started_at: at,
            seen_at: at,
            eos_prob: Running::default(),
            observed: 0,
            last_step: 0,
            final_eos_prob: 0.0,
        }
    }

    /// As its worker told of it, without the prompt's text.
    pub fn started(&self) -> &RequestStarted {
        &self.started
    }

    /// Where it runs.
    pub fn run(&self) -> &WorkerRun {
        &self.run
    }

    /// What is known of it before its first token.
    pub fn arrival(&self) -> Arrival {
        arrival_of!(self.started, prompt: self.prompt)
    }

    /// Seconds since 1970.
    pub fn started_at(&self) -> f64 {
        self.started_at
    }

    /// The latest step seen, 0 before the first.
    pub fn last_step(&self) -> u32 {
        self.last_step
    }

    /// When that was, or the arrival; seconds since 1970.
    pub fn seen_at(&self) -> f64 {
        self.seen_at
    }

    /// EOS probability at the latest step, 0 before the first.
    pub fn eos_probability(&self) -> f32 {
        self.final_eos_prob
    }

    /// Takes in a step at `at`, seconds since 1970.
    pub fn observe(&mut self, event: &StepEvent, at: f64) {
        self.observed += 1;
        self.steering.observe(event.step, event.eos_bias);
        let eos_prob = event.signals.eos_probability();
        self.eos_prob.push(eos_prob);
        (self.last_step, self.seen_at, self.final_eos_prob) = (event.step, at, eos_prob);
    }

    /// Counts steps anew from the next on: what is known of those before is not enough to go on from.
    pub fn restart(&mut self) {
        (self.eos_prob, self.observed) = (Running::default(), 0);
    }

    /// Its arrival, as message `sequence_number` told it.
    pub fn start_line(&self, sequence_number: u64, estimate: Option<ModelForecast>) -> StartLine {
        StartLine {
            request_id: self.started.request_id.clone(),
            timestamp: self.started_at,
            worker_id: self.run.worker_id.clone(),
            epoch: self.run.epoch,
            sequence_number,
            model: self.model.clone(),
            eos_token_ids: self.started.eos_token_ids.clone(),
            task: self.task.clone(),
            prompt_length: self.started.prompt_length,
            output_length: self.started.output_length,
            max_tokens: self.started.max_tokens,
            temperature: self.started.temperature,
            ignore_eos: self.started.ignore_eos,
            estimate,
            target_tokens: self.started.target_tokens,
            prompt_features: self.prompt,
        }
    }

    /// The step taken in last, which was `event`.
    pub fn step_line(&self, event: &StepEvent, sequence_number: u64, estimate: Option<ModelForecast>) -> StepLine {
        let sampled = event.signals.eos_logprob_sampled;
        StepLine {
            request_id: event.request_id.clone(),
            timestamp: self.seen_at,
            step: event.step,
            current_token_id: event.token_id,
            eos_token_id: self.started.eos_token_ids.first().copied().unwrap_or_default(),
            eos_logprob: event.signals.eos_logprob,
            eos_prob: self.final_eos_prob,
            is_finished: event.finish_reason.is_some(),
            finish_reason: event.finish_reason,
            prompt_length: self.started.prompt_length,
            output_length: event.step,
            total_length: u64::from(self.started.prompt_length) + u64::from(event.step),
            eos_logprob_sampled: sampled.is_finite().then_some(sampled),
            token_logprob: event.signals.token_logprob,
            entropy: event.signals.entropy,
            top_logprob: event.signals.top_logprob,
            eos_rank: event.signals.eos_rank,
            temperature: self.started.temperature,
            worker_id: self.run.worker_id.clone(),
            model: self.model.clone(),
            sequence_number,
            task: self.task.clone(),
            estimate,
            max_tokens: self.started.max_tokens,
            epoch: self.run.epoch,
            ignore_eos: self.started.ignore_eos,
            observed: self.observed,
            eos_bias: event.eos_bias,
            sentence_end_logprob: event.signals.sentence_end_logprob,
            newline_logprob: event.signals.newline_logprob,
            sketch: event.sketch.clone(),
        }
    }

    /// Its outcome at `at`, not numbered yet. Lengths and times never go back behind what was seen, and no length that is only
    /// reported exceeds `max_tokens`.
    pub fn request_line(
        self,
        finish_reason: FinishReason,
        output_length: u32,
        at: f64,
        first_estimate: Option<ModelForecast>,
    ) -> RequestLine {
        let output_length =
            output_length.min(self.started.max_tokens).max(self.last_step).max(self.started.output_length);
        let steered_from = self.steering.reaching(output_length).from();
        let [mean_eos_prob, max_eos_prob, std_eos_prob] = self.eos_prob.summary();
        RequestLine {
            worker_id: self.run.worker_id,
            epoch: self.run.epoch,
            model: self.model,
            task: self.task,
            timestamp: at.max(self.seen_at),
            started_at: self.started_at,
            finish_reason,
            prompt_length: self.started.prompt_length,
            output_length,
            total_length: u64::from(self.started.prompt_length) + u64::from(output_length),
            max_tokens: self.started.max_tokens,
            temperature: self.started.temperature,
            ignore_eos: self.started.ignore_eos,
            request_id: self.started.request_id,
            censored: finish_reason.is_censored() || self.started.ignore_eos || steered_from.is_some(),
            first_estimate,
            first_length: self.started.output_length,
            steps_observed: self.observed,
            final_eos_prob: self.final_eos_prob,
            mean_eos_prob,
            max_eos_prob,
            std_eos_prob,
            outcome_number: 0,
            censored_outcomes: 0,
            steered_from,
            prompt_features: self.prompt,
            pits: None,
        }
    }
}
