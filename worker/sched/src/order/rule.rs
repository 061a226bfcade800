//! What an order rule says of itself.

use super::moment::Moment;
use crate::signature::{Argument, Signature};
use crate::view::Outlook;

/// The score of a waiting request, of which the smallest goes first: from its outlook as it was when the forecast was
/// made, the argument of the rule, and the state of the engine.
pub(super) type Score = fn(&Outlook, f64, &Moment) -> f64;

/// An order rule.
#[derive(Debug)]
pub(crate) struct OrderRule {
    pub(super) signature: Signature,
    pub(super) score: Score,
    pub(super) uses_forecast: bool,
    /// Whether scores move as time passes, without any call for the request and without a new forecast.
    pub(super) moves_with_time: bool,
    /// Tokens that a request generates before its forecast is asked for again.
    pub(super) keeps_forecast: u32,
    /// Every how many admissions the oldest goes, by the argument; `None` if the score alone decides.
    pub(super) turn: Option<fn(f64) -> u32>,
    /// Whether it is a bound that stands for true lengths.
    pub(super) wants_truth: bool,
}

impl OrderRule {
    /// A rule whose score stays put and needs no forecast.
    pub(super) const fn new(name: &'static str, argument: Argument, score: Score) -> Self {
        Self {
            signature: Signature { name, argument },
            score,
            uses_forecast: false,
            moves_with_time: false,
            keeps_forecast: 0,
            turn: None,
            wants_truth: false,
        }
    }

    /// A rule whose score comes from a forecast that is asked for anew whenever the request is ranked.
    pub(super) const fn on_forecast(name: &'static str, argument: Argument, score: Score) -> Self {
        Self { uses_forecast: true, ..Self::new(name, argument, score) }
    }
}
