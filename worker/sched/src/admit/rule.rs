//! What an admission rule says of itself.

use std::fmt;

use crate::config::SchedulerConfig;
use crate::signature::{Argument, Signature};
use crate::victim::Victim;
use crate::view::{Outlook, RequestView};

/// Makes a rule's control from its argument.
pub(super) type Build = fn(f64, SchedulerConfig) -> Box<dyn AdmissionControl>;

/// An admission rule.
#[derive(Debug)]
pub(crate) struct AdmissionRule {
    pub(super) signature: Signature,
    pub(super) build: Build,
    pub(super) uses_forecast: bool,
    /// Whether it is a bound that stands for true lengths.
    pub(super) wants_truth: bool,
    /// The victim rule of a policy that names none.
    pub(super) usual_victim: Victim,
}

impl AdmissionRule {
    /// A rule that looks at no forecast.
    pub(super) const fn new(name: &'static str, argument: Argument, build: Build) -> Self {
        Self {
            signature: Signature { name, argument },
            build,
            uses_forecast: false,
            wants_truth: false,
            usual_victim: Victim::LIFO,
        }
    }

    /// A rule that looks at the forecasts of running and waiting requests.
    pub(super) const fn on_forecast(name: &'static str, argument: Argument, build: Build) -> Self {
        Self { uses_forecast: true, ..Self::new(name, argument, build) }
    }
}

/// An admission rule at work. It lives as long as the scheduler, so that it may keep a ratio or a history.
pub(crate) trait AdmissionControl: fmt::Debug + Send + Sync {
    /// Starts a step with the running batch and the block tables of its requests, in running order. The tables are empty
    /// if no block is shared.
    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]);

    /// Whether `candidate` may join.
    fn fits(&self, candidate: &Outlook) -> bool;

    /// Counts `admitted` as running.
    fn add(&mut self, admitted: &Outlook);

    /// A step was planned for these running requests. `preempted` says whether others were preempted for it.
    fn stepped(&mut self, _running: &mut dyn Iterator<Item = RequestView>, _preempted: bool) {}

    /// A request ended after generating `_length` tokens.
    fn ended(&mut self, _length: u32) {}
}
