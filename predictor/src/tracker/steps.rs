//! [`take_in`]: steps of one message, through features and model to estimates and log lines.

use eoscast_proto::domain::StepEvent;

use super::Applied;
use super::live::LiveRequest;
use eoscast_forecast::features::FeatureRow;
use eoscast_forecast::forecast::forecast_all;
use eoscast_forecast::models::{Asked, LengthModel};

/// Steps that a model is asked about together: enough to use its weights well, and few enough to stay in the cache.
const TOGETHER: usize = 48;

/// A step of a live request.
pub(super) struct Step<'a> {
    pub(super) live: Box<LiveRequest>,
    pub(super) event: &'a StepEvent,
}

impl Step<'_> {
    fn goes_on(&self) -> bool {
        self.event.finish_reason.is_none()
    }
}

/// Folds in steps of message `sequence_number`, each of another request, and has `model` forecast; appends their lines and
/// estimates to `applied`, in their order.
pub(super) fn take_in(
    steps: &mut [Step<'_>],
    model: &dyn LengthModel,
    at: f64,
    sequence_number: u64,
    applied: &mut Applied,
) {
    for steps in steps.chunks_mut(TOGETHER) {
        let rows: Vec<FeatureRow> = steps.iter_mut().map(|step| step.live.observe(step.event, at)).collect();
        let going_on = steps.iter_mut().zip(&rows).filter(|(step, _)| step.goes_on());
        let mut asked: Vec<Asked<'_>> = going_on.map(|(step, row)| Asked { row, memory: step.live.memory() }).collect();
        let mut forecasts = forecast_all(model, &mut asked).into_iter();
        for (step, row) in steps.iter_mut().zip(&rows) {
            if step.goes_on()
                && let Some(forecast) = forecasts.next()
            {
                step.live.answer(row, forecast, model);
                applied.estimates.push(step.live.estimate());
            }
            applied.lines.steps.push(step.live.step_line(step.event, sequence_number));
        }
    }
}
