//! [`Group`]: the second part of a step. Events are folded into the features of their requests, and a model forecasts.
//!
//! Steps are handled by groups, not one by one, so that a model is asked about several at once and uses its weights well.

use std::iter::Peekable;
use std::slice::Iter;

use eoscast_proto::domain::{RequestStarted, StepEvent, WorkerRun};

use super::applied::Tally;
use super::live::LiveRequest;
use super::worker::{Taken, Worker};
use eoscast_forecast::features::FeatureRow;
use eoscast_forecast::forecast::forecast_all;
use eoscast_forecast::models::{Asked, LengthModel, Serving};

/// Puts an announced request in its place, with a forecast. Gives the live request, and whether it was not live before.
pub(super) fn start<'a>(
    worker: &'a mut Worker,
    started: &RequestStarted,
    run: &WorkerRun,
    at: f64,
    models: &Serving,
) -> (&'a LiveRequest, bool) {
    let place = worker.live.entry(started.request_id.clone()).or_default();
    let is_first = place.is_none();
    let new = || LiveRequest::new(started.clone(), run.clone(), at, models.model_for(&started.model)).into();
    (place.get_or_insert_with(new), is_first)
}

/// Most steps of a group: enough to use the weights of a model well, and few enough to stay in the cache.
const GROUP_STEPS: usize = 48;

/// A step of a live request, which is taken out of its place meanwhile.
pub(super) struct Step<'a> {
    pub(super) live: Box<LiveRequest>,
    pub(super) event: &'a StepEvent,
}

impl Step<'_> {
    pub(super) fn goes_on(&self) -> bool {
        self.event.finish_reason.is_none()
    }
}

/// Steps of different requests that one model forecasts.
pub(super) struct Group<'a> {
    models: &'a Serving,
    /// The model that forecasts all of `steps`.
    model: &'a dyn LengthModel,
    pub(super) steps: Vec<Step<'a>>,
}

impl<'a> Group<'a> {
    pub(super) fn new(models: &'a Serving) -> Self {
        Self { models, model: models.model(), steps: vec![] }
    }

    /// Gathers the next steps of `events`, as many as fit. `false` once there are none. Those left out wait for the next group:
    /// a later step of a request that is in this one, or a step for another model.
    pub(super) fn fill(
        &mut self,
        worker: &mut Worker,
        events: &mut Peekable<Iter<'a, StepEvent>>,
        tally: &mut Tally,
    ) -> bool {
        while self.steps.len() < GROUP_STEPS
            && let Some(event) = events.peek()
        {
            let event: &'a StepEvent = event;
            match worker.take(&event.request_id) {
                Taken::Out => break,
                Taken::Unknown => tally.unknown_requests += 1,
                Taken::Live(live) if event.step <= live.last_step() => {
                    tally.duplicate_steps += 1;
                    worker.put_back(&event.request_id, live);
                }
                Taken::Live(live) => {
                    let model = self.models.model_for(&live.started().model);
                    if !std::ptr::addr_eq(model, self.model) && !self.steps.is_empty() {
                        worker.put_back(&event.request_id, live);
                        break;
                    }
                    self.model = model;
                    tally.step_gaps += u64::from(live.last_step() > 0 && event.step > live.last_step() + 1);
                    self.steps.push(Step { live, event });
                }
            }
            events.next();
        }
        !self.steps.is_empty()
    }

    /// Folds the events in and has the model forecast. Each request that goes on then has its new forecast.
    pub(super) fn fold_and_predict(&mut self, at: f64) {
        let rows: Vec<FeatureRow> = self.steps.iter_mut().map(|step| step.live.observe(step.event, at)).collect();
        let going_on = || |(step, _): &(&mut Step<'_>, &FeatureRow)| step.goes_on();
        let asked = self.steps.iter_mut().zip(&rows).filter(going_on());
        let mut asked: Vec<Asked<'_>> = asked.map(|(step, row)| Asked { row, memory: step.live.memory() }).collect();
        let forecasts = forecast_all(self.model, &mut asked);
        let answered = self.steps.iter_mut().zip(&rows).filter(going_on());
        for ((step, row), forecast) in answered.zip(forecasts) {
            step.live.answer(row, forecast, self.model);
        }
    }
}
