//! `peak` where forecasts are the true lengths: a bound on what an admission rule can do. Whoever answers the forecasts
//! is the oracle ([`Policy::wants_truth`](crate::Policy::wants_truth)).

use super::peak::QuantilePeak;
use super::rule::AdmissionRule;
use crate::signature::Argument;

/// Any quantile of a certain length is that length.
const LEVEL: f32 = 0.5;

pub(super) static RULE: AdmissionRule = AdmissionRule {
    wants_truth: true,
    ..AdmissionRule::on_forecast("oracle-peak", Argument::None, |_, config| Box::new(QuantilePeak::new(LEVEL, config)))
};
