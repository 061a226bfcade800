//! One live request.

use eoscast_log::record::{RequestLine, StartLine, StepLine};
use eoscast_log::request::LoggedRequest;
use eoscast_proto::domain::{
    FinishReason, Forecast, LengthEstimate, ModelForecast, RequestStarted, StepEvent, WorkerRun,
};

use super::outcomes::Outcomes;
use crate::accuracy::Watched;
use crate::recovery::RecoveredRequest;
use eoscast_forecast::features::{FeatureRow, FeatureState};
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::models::{LengthModel, Memory, Serving};

/// What is kept of a live request.
pub(super) struct LiveRequest {
    logged: LoggedRequest,
    first_estimate: Option<ModelForecast>,
    features: FeatureState,
    memory: Memory,
    forecast: ModelForecast,
    watched: Watched,
    /// Its outcome is counted and logged already; see [`recovery`](crate::recovery).
    concluded: bool,
    /// It has changed since somebody looked.
    pub(super) is_marked: bool,
}

impl LiveRequest {
    pub(super) fn new(started: RequestStarted, run: WorkerRun, at: f64, model: &dyn LengthModel) -> Self {
        let logged = LoggedRequest::new(started, run, at);
        let features = FeatureState::new(logged.arrival(), logged.started().output_length);
        let mut memory = model.memory();
        let forecast = forecast(model, &features.row(), &mut memory);
        let mut live = Self {
            logged,
            first_estimate: Some(forecast.clone()),
            features,
            memory,
            forecast,
            watched: Watched::default(),
            concluded: false,
            is_marked: false,
        };
        live.watch(&live.features.row(), model);
        live
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
            watched: Watched::default(),
            concluded: request.concluded,
            is_marked: false,
        }
    }

    /// Goes on with another model, which knows nothing of the steps so far.
    pub(super) fn swap(&mut self, model: &dyn LengthModel) {
        self.memory = model.memory();
        if self.features.observed() == 0 {
            forecast(model, &self.features.row(), &mut self.memory);
        }
    }

    fn watch(&mut self, row: &FeatureRow, model: &dyn LengthModel) {
        let prior = || model.prior().total_length().condition(row.step).clip(row.left()).quantile(0.5);
        self.watched.consider(row.step, row.arrival.limit(), row.chance(), &self.forecast, prior);
    }

    /// What was sent of it.
    pub(super) fn watched(&self) -> &Watched {
        &self.watched
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
    pub(super) fn row(&self) -> FeatureRow {
        self.features.row()
    }

    /// What is forecast now.
    pub(super) fn remaining(&self) -> &Forecast {
        &self.forecast.remaining
    }

    /// The current one.
    pub(super) fn estimate(&self) -> LengthEstimate {
        LengthEstimate {
            request_id: self.logged.started().request_id.clone(),
            step: self.features.step(),
            forecast: self.forecast.clone(),
        }
    }

    pub(super) fn start_line(&self, sequence_number: u64) -> StartLine {
        self.logged.start_line(sequence_number, Some(self.forecast.clone()))
    }

    /// Folds in one event and gives the features after it.
    pub(super) fn observe(&mut self, event: &StepEvent, at: f64) -> FeatureRow {
        self.logged.observe(event, at);
        self.features.observe(event)
    }

    /// What the model that answers keeps of it.
    pub(super) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Takes in what `model` said of `row`.
    pub(super) fn answer(&mut self, row: &FeatureRow, forecast: ModelForecast, model: &dyn LengthModel) {
        self.forecast = forecast;
        self.watch(row, model);
    }

    /// The line of the event folded in last; with the forecast, unless it ends the reply.
    pub(super) fn step_line(&self, event: &StepEvent, sequence_number: u64) -> StepLine {
        let forecast = event.finish_reason.is_none().then(|| self.forecast.clone());
        self.logged.step_line(event, sequence_number, forecast)
    }

    /// The outcome, counted in `outcomes`; nothing if it is counted already. Lengths and times never go back behind what was
    /// seen.
    pub(super) fn conclude(
        self,
        finish_reason: FinishReason,
        output_length: u32,
        at: f64,
        models: &Serving,
        outcomes: &mut Outcomes,
    ) -> Option<RequestLine> {
        if self.concluded {
            return None;
        }
        let mut line = self.logged.request_line(finish_reason, output_length, at, self.first_estimate);
        if line.is_served_out() {
            line.pits = models.model_for(&line.model).pits(&self.memory, line.outcome().length);
        }
        outcomes.count(&mut line, models.model().prior().window());
        Some(line)
    }
}
