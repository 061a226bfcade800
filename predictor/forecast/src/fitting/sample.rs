//! [`Sample`]: one finished request with its steps.

use std::sync::Arc;

use eoscast_log::record::Arrival;
use eoscast_proto::domain::{FinishReason, RequestId, StepEvent, StepSignals};
use half::f16;

use crate::features::{FeatureRow, FeatureState};

/// The signals of one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub step: u32,
    pub token_id: u32,
    pub signals: StepSignals,
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
    pub fn events(&self) -> impl Iterator<Item = StepEvent> {
        let mut sketches = self.sketches.chunks(self.sketch_length.max(1));
        self.steps.iter().map(move |step| {
            let sketch = if step.is_sketched { sketches.next() } else { None };
            StepEvent {
                request_id: self.request_id.clone(),
                step: step.step,
                token_id: step.token_id,
                signals: step.signals,
                finish_reason: None,
                eos_bias: 0.0,
                sketch: sketch.unwrap_or_default().iter().map(|value| value.to_f32()).collect(),
            }
        })
    }

    /// The rows that a predictor sees: that of the arrival, then one per step at which the reply was to go on.
    pub fn rows(&self) -> impl Iterator<Item = FeatureRow> {
        let mut state = FeatureState::new(self.arrival, 0);
        let arrival = state.row();
        let live = self.events().take_while(|event| event.step < self.length);
        std::iter::once(arrival).chain(live.map(move |event| state.observe(&event)))
    }

    /// The row after the prompt was read and before the first token; nothing without a sketch.
    pub fn prefilled(&self) -> Option<FeatureRow> {
        let first = self.events().next().filter(|event| event.step == 1 && !event.sketch.is_empty())?;
        Some(FeatureState::new(self.arrival, 0).prefilled(&first.sketch))
    }

    /// Whether its service length is known: it ended by itself or at `max_tokens`.
    pub fn is_served_out(&self) -> bool {
        self.ended || self.finish_reason == FinishReason::Length && self.length == self.arrival.max_tokens
    }

    /// Name of its prompt: samples of one prompt are called `name#number`.
    pub fn prompt_name(&self) -> &str {
        let id = self.request_id.as_str();
        id.rsplit_once('#').map_or(id, |(name, _)| name)
    }
}
