//! [`Sample`]: one finished request with its steps.

use std::borrow::Cow;
use std::sync::Arc;

use eoscast_log::record::{Arrival, Signals};
#[cfg(any(test, feature = "testing"))]
use eoscast_proto::domain::StepEvent;
use eoscast_proto::domain::{FinishReason, RequestId};
use half::f16;

use crate::features::{FeatureRow, FeatureState, Observed};

/// The signals of one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub step: u32,
    pub token_id: Option<u32>,
    pub signals: Signals,
    /// The worker sent its sketch.
    pub is_sketched: bool,
}

/// One finished request.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which.
    pub request_id: RequestId,
    /// 1 for the first outcome of the log, and so on.
    pub outcome_number: u64,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// What was known before the first token.
    pub arrival: Arrival,
    /// Most tokens that forecasts of it are judged up to: its `max_tokens`, or, where a log does not tell them, what it came to if
    /// that was its limit, else what the longest reply of the log came to. No model sees it.
    pub limit: u32,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens that came naturally: all, or those before length control set in.
    pub length: u32,
    /// It ended by itself, so that `length` is its natural length; else it would have had more.
    pub ended: bool,
    pub(super) steps: Vec<Step>,
    /// Sketches of the steps that have one, in half precision as features keep them; each has `sketch_length` numbers.
    pub(super) sketches: Vec<f16>,
    pub(super) sketch_length: usize,
}

impl Sample {
    /// Its steps in order.
    pub fn steps(&self) -> impl Iterator<Item = Observed<'static>> {
        let mut sketches = self.sketches.chunks(self.sketch_length.max(1));
        self.steps.iter().map(move |step| {
            let sketch = if step.is_sketched { sketches.next() } else { None };
            Observed {
                step: step.step,
                token_id: step.token_id,
                signals: step.signals,
                sketch: Cow::Owned(sketch.unwrap_or_default().iter().map(|value| value.to_f32()).collect()),
            }
        })
    }

    /// Its steps as a worker tells them; of each all signals must be known.
    #[cfg(any(test, feature = "testing"))]
    #[expect(clippy::unwrap_used, reason = "for tests alone")]
    pub fn events(&self) -> impl Iterator<Item = StepEvent> {
        self.steps().map(|step| StepEvent {
            request_id: self.request_id.clone(),
            step: step.step,
            token_id: step.token_id.unwrap(),
            signals: step.signals.all_known().unwrap(),
            finish_reason: None,
            eos_bias: 0.0,
            sketch: step.sketch.as_ref().into(),
        })
    }

    /// The rows that a predictor sees: that of the arrival, then one per step at which the reply was to go on.
    pub fn rows(&self) -> impl Iterator<Item = FeatureRow> {
        let mut state = FeatureState::new(self.arrival, 0);
        let arrival = state.row();
        let live = self.steps().take_while(|step| step.step < self.length);
        std::iter::once(arrival).chain(live.map(move |step| state.take(&step)))
    }

    /// The row after the prompt was read and before the first token; nothing without a sketch.
    pub fn prefilled(&self) -> Option<FeatureRow> {
        let first = self.steps().next().filter(|step| step.step == 1 && !step.sketch.is_empty())?;
        Some(FeatureState::new(self.arrival, 0).prefilled(&first.sketch))
    }

    /// Whether its service length is known: it ended by itself or at its limit.
    pub fn is_served_out(&self) -> bool {
        self.ended || self.finish_reason == FinishReason::Length && self.length == self.limit
    }

    /// Name of its prompt: samples of one prompt are called `name#number`.
    pub fn prompt_name(&self) -> &str {
        let id = self.request_id.as_str();
        id.rsplit_once('#').map_or(id, |(name, _)| name)
    }
}
