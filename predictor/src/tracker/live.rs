//! One live request.

use std::sync::Arc;

use eoscast_proto::domain::{FinishReason, LengthEstimate, RequestStarted, StepEvent, WorkerRun};

use crate::features::{Arrival, FeatureState};
use crate::forecast::Forecast;
use crate::models::{History, LengthModel};
use crate::steering::Steering;
use crate::store::record::{RequestLine, StartLine, StepLine};
use crate::store::recovery::RecoveredRequest;

/// What is kept of a live request.
pub(super) struct LiveRequest {
    started: RequestStarted,
    run: WorkerRun,
    model: Arc<str>,
    task: Option<Arc<str>>,
    started_at: f64,
    seen_at: f64,
    first_estimate: Option<Forecast>,
    features: FeatureState,
    steering: Steering,
    forecast: Forecast,
    /// Of the last event, 0 before the first.
    last_step: u32,
    eos_probability: f32,
    /// Its outcome is counted and logged already; see [`recovery`](crate::store::recovery).
    concluded: bool,
}

impl LiveRequest {
    pub(super) fn new(started: RequestStarted, run: WorkerRun, at: f64, model: &dyn LengthModel) -> Self {
        let arrival = Arrival {
            prompt_length: started.prompt_length,
            max_tokens: started.max_tokens,
            temperature: started.temperature,
            ignore_eos: started.ignore_eos,
        };
        let features = FeatureState::new(arrival, started.output_length);
        let forecast = Forecast::new(model, &features.row());
        Self {
            model: started.model.as_str().into(),
            task: started.task.as_deref().map(Arc::from),
            steering: Steering::new(started.target_tokens.is_some(), started.output_length),
            started,
            run,
            started_at: at,
            seen_at: at,
            first_estimate: Some(forecast.clone()),
            features,
            forecast,
            last_step: 0,
            eos_probability: 0.0,
            concluded: false,
        }
    }

    pub(super) fn recovered(request: RecoveredRequest, model: &dyn LengthModel) -> Self {
        Self {
            model: request.started.model.as_str().into(),
            task: request.started.task.as_deref().map(Arc::from),
            forecast: Forecast::new(model, &request.features.row()),
            started: request.started,
            run: request.run,
            started_at: request.started_at,
            seen_at: request.seen_at,
            first_estimate: request.first_estimate,
            features: request.features,
            steering: request.steering,
            last_step: request.last_step,
            eos_probability: request.eos_probability,
            concluded: request.concluded,
        }
    }

    pub(super) fn started(&self) -> &RequestStarted {
        &self.started
    }

    pub(super) fn last_step(&self) -> u32 {
        self.last_step
    }

    pub(super) fn eos_probability(&self) -> f32 {
        self.eos_probability
    }

    pub(super) fn is_concluded(&self) -> bool {
        self.concluded
    }

    #[cfg(test)]
    pub(super) fn row(&self) -> crate::features::FeatureRow {
        self.features.row()
    }

    /// The current one.
    pub(super) fn estimate(&self) -> LengthEstimate {
        self.forecast.to_estimate(&self.started.request_id, self.features.step())
    }

    pub(super) fn start_line(&self, sequence_number: u64) -> StartLine {
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
            estimate: self.forecast.clone(),
            target_tokens: self.started.target_tokens,
        }
    }

    /// Folds in one event and forecasts anew, unless it is the last.
    pub(super) fn step(
        &mut self,
        event: &StepEvent,
        model: &dyn LengthModel,
        at: f64,
        sequence_number: u64,
    ) -> StepLine {
        let row = self.features.observe(event.step, &event.signals);
        self.steering.observe(event.step, event.eos_bias);
        let is_finished = event.finish_reason.is_some();
        if !is_finished {
            self.forecast = Forecast::new(model, &row);
        }
        (self.last_step, self.seen_at, self.eos_probability) = (event.step, at, row.eos_prob());
        let sampled = event.signals.eos_logprob_sampled;
        StepLine {
            request_id: event.request_id.clone(),
            timestamp: at,
            step: event.step,
            current_token_id: event.token_id,
            eos_token_id: self.started.eos_token_ids.first().copied().unwrap_or_default(),
            eos_logprob: event.signals.eos_logprob,
            eos_prob: row.eos_prob(),
            is_finished,
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
            estimate: (!is_finished).then(|| self.forecast.clone()),
            max_tokens: self.started.max_tokens,
            epoch: self.run.epoch,
            ignore_eos: self.started.ignore_eos,
            observed: row.observed,
            eos_bias: event.eos_bias,
        }
    }

    /// The outcome, counted in `history`; nothing if it is counted already. Lengths and times never go back behind what was
    /// seen.
    pub(super) fn conclude(
        self,
        finish_reason: FinishReason,
        output_length: u32,
        at: f64,
        history: &mut History,
    ) -> Option<RequestLine> {
        if self.concluded {
            return None;
        }
        let output_length = output_length.max(self.last_step).max(self.features.step());
        let steered_from = self.steering.reaching(output_length).from();
        let censored = finish_reason.is_censored() || self.started.ignore_eos || steered_from.is_some();
        let [mean_eos_prob, max_eos_prob, std_eos_prob] = self.features.row().eos_prob_summary();
        let mut line = RequestLine {
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
            censored,
            first_estimate: self.first_estimate,
            first_length: self.started.output_length,
            steps_observed: self.features.observed(),
            final_eos_prob: self.eos_probability,
            mean_eos_prob,
            max_eos_prob,
            std_eos_prob,
            outcome_number: 0,
            censored_outcomes: 0,
            steered_from,
        };
        history.push(line.outcome());
        (line.outcome_number, line.censored_outcomes) = (history.seen, history.censored);
        Some(line)
    }
}
