//! What a victim rule says of itself.

use crate::signature::{Argument, Signature};
use crate::view::Outlook;

/// Picks one of the eligible, which are indices in the running batch, ascending.
pub(super) type Choose = fn(&[Outlook], &[usize]) -> Option<usize>;

/// A victim rule.
#[derive(Debug)]
pub(crate) struct VictimRule {
    pub(super) signature: Signature,
    pub(super) choose: Choose,
    pub(super) uses_forecast: bool,
    /// Steps for which the running decodes have room once some were preempted.
    pub(super) steps_of_room: u32,
}

impl VictimRule {
    /// A rule that looks at no forecast and makes room for one step.
    pub(super) const fn new(name: &'static str, choose: Choose) -> Self {
        let signature = Signature { name, argument: Argument::None };
        Self { signature, choose, uses_forecast: false, steps_of_room: 1 }
    }

    /// A rule that looks at forecasts and makes room for one step.
    pub(super) const fn on_forecast(name: &'static str, choose: Choose) -> Self {
        Self { uses_forecast: true, ..Self::new(name, choose) }
    }
}
