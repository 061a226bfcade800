//! An admission rule at work.

use super::Admission;
use super::aggressive;
use super::rule::AdmissionControl;
use crate::config::SchedulerConfig;
use crate::view::{Outlook, RequestView};

/// An admission rule at work.
///
/// [`Scheduler`](crate::Scheduler) owns one. It is public for who runs a rule without a scheduler, in a loop of its own:
/// [`reset`](Self::reset) once per step, then [`fits`](Self::fits) and [`add`](Self::add) for each waiting request, and
/// [`stepped`](Self::stepped) and [`ended`](Self::ended) for rules that learn.
#[derive(Debug)]
pub struct Gate {
    control: Box<dyn AdmissionControl>,
    uses_forecast: bool,
}

impl Gate {
    /// The rule before the first request.
    pub fn new(admission: Admission, config: SchedulerConfig) -> Self {
        Self { control: admission.build(config), uses_forecast: admission.uses_forecast() }
    }

    /// Whether the forecasts of outlooks matter.
    pub fn uses_forecast(&self) -> bool {
        self.uses_forecast
    }

    /// A step was planned for the running requests, and some were preempted for it or not.
    pub fn stepped(&mut self, mut running: impl Iterator<Item = RequestView>, preempted: bool) {
        self.control.stepped(&mut running, preempted);
    }

    /// A request ended after generating `length` tokens.
    pub fn ended(&mut self, length: u32) {
        self.control.ended(length);
    }

    /// Starts a step with the running batch and the block tables of its requests, in running order; empty tables if no
    /// block is shared.
    pub fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        self.control.reset(running, tables);
    }

    /// Whether `candidate` may join; `step_blocks` are those it needs in this step.
    pub fn fits(&self, candidate: &Outlook, step_blocks: u32, free_blocks: u32) -> bool {
        aggressive::fits(step_blocks, free_blocks) && self.control.fits(candidate)
    }

    /// Counts `admitted` as running.
    pub fn add(&mut self, admitted: &Outlook) {
        self.control.add(admitted);
    }
}
