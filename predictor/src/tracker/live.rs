//! One live request.

use eoscast_log::forecast::Forecast;
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use eoscast_log::request::LoggedRequest;
use eoscast_proto::domain::{FinishReason, LengthEstimate, RequestStarted, StepEvent, WorkerRun};

use crate::features::FeatureState;
use crate::forecast::forecast;
use crate::models::{History, LengthModel, Memory, Serving};
use crate::recovery::RecoveredRequest;

/// What is kept of a live request.
pub(super) struct LiveRequest {
    logged: LoggedRequest,
    first_estimate: Option<Forecast>,
    features: FeatureState,
    memory: Memory,
    forecast: Forecast,
    /// Its outcome is counted and logged already; see [`recovery`](crate::recovery).
    concluded: bool,
}

impl LiveRequest {
    pub(super) fn new(started: RequestStarted, run: WorkerRun, at: f64, model: &dyn LengthModel) -> Self {
        let logged = LoggedRequest::new(started, run, at);
        let features = FeatureState::new(logged.arrival(), logged.started().output_length);
        let mut memory = model.memory();
        let forecast = forecast(model, &features.row(), &mut memory);
        Self { logged, first_estimate: Some(forecast.clone()), features, memory, forecast, concluded: false }
    }

    pub(super) fn recovered(request: RecoveredRequest, model: &dyn LengthModel) -> Self {
        let memory = request.memory(model);
        Self {
            // What is shown until the next step; it leaves no trace in the memory.
            forecast: forecast(model, &request.features.row(), &mut memory.clone()),
            memory,
            logged: request.logged,
            first_estimate: request.first_estimate,
            features: request.features,
            concluded: request.concluded,
        }
    }

    /// Goes on with another model, which knows nothing of the steps so far.
    pub(super) fn swap(&mut self, model: &dyn LengthModel) {
        self.memory = model.memory();
        if self.features.observed() == 0 {
            forecast(model, &self.features.row(), &mut self.memory);
        }
    }

    pub(super) fn started(&self) -> &RequestStarted {
        self.logged.started()
    }

    pub(super) fn last_step(&self) -> u32 {
        self.logged.last_step()
    }

    pub(super) fn eos_probability(&self) -> f32 {
        self.logged.eos_probability()
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
        self.forecast.to_estimate(&self.logged.started().request_id, self.features.step())
    }

    pub(super) fn start_line(&self, sequence_number: u64) -> StartLine {
        self.logged.start_line(sequence_number, Some(self.forecast.clone()))
    }

    /// Folds in one event and forecasts anew, unless it is the last.
    pub(super) fn step(
        &mut self,
        event: &StepEvent,
        model: &dyn LengthModel,
        at: f64,
        sequence_number: u64,
    ) -> StepLine {
        self.logged.observe(event, at);
        let row = self.features.observe(event);
        let goes_on = event.finish_reason.is_none();
        if goes_on {
            self.forecast = forecast(model, &row, &mut self.memory);
        }
        self.logged.step_line(event, sequence_number, goes_on.then(|| self.forecast.clone()))
    }

    /// The outcome, counted in `history`; nothing if it is counted already. Lengths and times never go back behind what was
    /// seen.
    pub(super) fn conclude(
        self,
        finish_reason: FinishReason,
        output_length: u32,
        at: f64,
        models: &Serving,
        history: &mut History,
    ) -> Option<RequestLine> {
        if self.concluded {
            return None;
        }
        let mut line = self.logged.request_line(finish_reason, output_length, at, self.first_estimate);
        if line.is_served_out() {
            line.pits = models.model_for(&line.model).pits(&self.memory, line.outcome().length);
        }
        history.push(line.outcome());
        (line.outcome_number, line.censored_outcomes) = (history.seen, history.censored);
        Some(line)
    }
}
