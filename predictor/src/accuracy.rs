//! [`Accuracy`]: how good the forecasts of the last finished requests were, by the model that made them and by task. Pure.
//!
//! Of a live request one forecast of each age is kept, drawn at random among those that were sent ([`Watched`]), and stands for
//! all steps of that age: a reply's error is an unbiased estimate of its mean over all steps, as `eoscast-lab evaluate`
//! takes it. Errors are on service length, every reply weighs one.
//!
//! Beside the error stands that of the prior, which knows lengths only, at the same steps. Their ratio tells of drift: it rises as
//! traffic departs from what a model was trained on, and above 1 the model should be trained again or switched off. Coverage
//! alone would not show it, since [`calibration`](eoscast_forecast::calibration) widens intervals until they hold what they promise.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use eoscast_log::record::{Pits, RequestLine};
use eoscast_proto::domain::{FinishReason, ModelForecast};

use eoscast_forecast::models::ModelVersion;
use eoscast_forecast::reservoir::{Drawn, Reservoir};

/// Replies that a figure rests on at most.
pub const WINDOW: usize = 1_000;
/// Pairs of model and task that are told apart; the one that had no outcome for longest goes first.
const MOST_PAIRS: usize = 64;
/// Probability with which the intervals are to hold the truth.
const SHARE: f64 = 0.9;

/// One forecast of each age of a live request, to be compared with its outcome.
#[derive(Debug, Clone, Default)]
pub struct Watched(Reservoir<WatchedForecast>);

#[derive(Debug, Clone)]
struct WatchedForecast {
    model_version: Arc<str>,
    median: f32,
    mean: f32,
    interval: [f32; 2],
    prior_median: f32,
}

impl Watched {
    /// Considers what was sent after `step` tokens of at most `max_tokens`. `chance` is any number that differs from step to step;
    /// `prior` gives the prior's median of the remaining service length.
    pub fn consider(
        &mut self,
        step: u32,
        max_tokens: u32,
        chance: u32,
        forecast: &ModelForecast,
        prior: impl FnOnce() -> f64,
    ) {
        self.0.consider(step, chance, || {
            let remaining = &forecast.remaining;
            let (low, high) = remaining.interval(SHARE, max_tokens.saturating_sub(step));
            WatchedForecast {
                model_version: forecast.model_version.clone(),
                median: remaining.median() as f32,
                mean: remaining.mean,
                interval: [low as f32, high as f32],
                prior_median: prior() as f32,
            }
        });
    }

    /// How the forecasts of `family` turned out for a reply of `length` tokens; nothing if there is none.
    fn judge(&self, family: &str, length: u32) -> Option<Turned> {
        let mut turned = Turned::default();
        let mut weights = 0.0f32;
        for (drawn, covered) in self.0.ages().iter().zip(&mut turned.covered) {
            let Some(drawn) = drawn else { continue };
            let Drawn { step, steps, value } = drawn;
            if *step >= length || value.family() != family {
                continue;
            }
            let truth = (length - step) as f32;
            let weight = *steps as f32;
            turned.absolute += weight * (value.median - truth).abs();
            turned.signed += weight * (value.mean - truth);
            turned.prior_absolute += weight * (value.prior_median - truth).abs();
            *covered = Some(value.interval[0] <= truth && truth <= value.interval[1]);
            weights += weight;
        }
        for sum in [&mut turned.absolute, &mut turned.signed, &mut turned.prior_absolute] {
            *sum /= weights;
        }
        (weights > 0.0).then_some(turned)
    }

    /// The models that made what was drawn.
    fn families(&self) -> Vec<&str> {
        let mut families: Vec<&str> = self.0.ages().iter().flatten().map(|drawn| drawn.value.family()).collect();
        families.sort_unstable();
        families.dedup();
        families
    }
}

impl WatchedForecast {
    fn family(&self) -> &str {
        ModelVersion::family_in(&self.model_version)
    }
}

/// How the forecasts of one reply turned out, in tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Turned {
    absolute: f32,
    signed: f32,
    prior_absolute: f32,
    covered: [Option<bool>; Pits::AGES],
}

/// Forecasts of one age.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AgeCoverage {
    /// Replies that came to it.
    pub requests: u32,
    /// Share of them that the 90 % interval held; 0 without any.
    pub share: f64,
}

/// How good the forecasts of one model for one task were, over the last [`WINDOW`] replies that ended or came to their limit.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAccuracy {
    /// The model: its version without the number of outcomes.
    pub model: String,
    /// The task; nothing for all requests together.
    pub task: Option<Arc<str>>,
    /// Replies that the figures rest on.
    pub requests: u32,
    /// Mean absolute error of the median, tokens.
    pub mae: f64,
    /// Mean of forecast mean - truth, tokens.
    pub bias: f64,
    /// The prior's mean absolute error at the same steps.
    pub prior_mae: f64,
    /// By age.
    pub coverage90: [AgeCoverage; Pits::AGES],
}

impl ModelAccuracy {
    /// Error in parts of the prior's; 1 where neither errs.
    pub fn error_to_prior(&self) -> f64 {
        if self.prior_mae > 0.0 { self.mae / self.prior_mae } else { 1.0 }
    }
}

#[derive(Debug, Default)]
struct Window {
    turned: VecDeque<Turned>,
    /// When it last had an outcome, in outcomes.
    latest: u64,
}

impl Window {
    fn sum_up(&self, model: &str, task: Option<Arc<str>>) -> ModelAccuracy {
        let requests = self.turned.len().max(1) as f64;
        let mean = |value: fn(&Turned) -> f32| self.turned.iter().map(|t| f64::from(value(t))).sum::<f64>() / requests;
        let coverage90 = std::array::from_fn(|age| {
            let known = || self.turned.iter().filter_map(|turned| turned.covered[age]);
            let (requests, held) = (known().count() as u32, known().filter(|held| *held).count());
            AgeCoverage { requests, share: held as f64 / f64::from(requests.max(1)) }
        });
        ModelAccuracy {
            model: model.to_owned(),
            task,
            requests: self.turned.len() as u32,
            mae: mean(|turned| turned.absolute),
            bias: mean(|turned| turned.signed),
            prior_mae: mean(|turned| turned.prior_absolute),
            coverage90,
        }
    }
}

/// The accuracy of all models that answered lately. Its size is bounded, whatever finishes.
#[derive(Debug, Default)]
pub struct Accuracy {
    windows: BTreeMap<(String, Option<Arc<str>>), Window>,
    outcomes: u64,
}

impl Accuracy {
    /// Compares what was sent of a request with its outcome. Replies that were aborted, steered or could not end are passed over:
    /// they say nothing of forecasts.
    pub fn observe(&mut self, watched: &Watched, line: &RequestLine) {
        let natural = match line.finish_reason {
            FinishReason::Stop => true,
            FinishReason::Length => line.output_length == line.max_tokens,
            FinishReason::Abort | FinishReason::Error => false,
        };
        if !natural || line.ignore_eos || line.steered_from.is_some() {
            return;
        }
        self.outcomes += 1;
        for family in watched.families() {
            if let Some(turned) = watched.judge(family, line.output_length) {
                self.push((family.to_owned(), None), turned);
                if line.task.is_some() {
                    self.push((family.to_owned(), line.task.clone()), turned);
                }
            }
        }
    }

    fn push(&mut self, pair: (String, Option<Arc<str>>), turned: Turned) {
        if self.windows.len() >= MOST_PAIRS && !self.windows.contains_key(&pair) {
            let oldest = self.windows.iter().min_by_key(|(_, window)| window.latest).map(|(pair, _)| pair.clone());
            oldest.and_then(|pair| self.windows.remove(&pair));
        }
        let window = self.windows.entry(pair).or_default();
        window.latest = self.outcomes;
        if window.turned.len() == WINDOW {
            window.turned.pop_front();
        }
        window.turned.push_back(turned);
    }

    /// Outcomes that were judged.
    pub fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// Of every model and task, in order; of each model all requests together come first.
    pub fn report(&self) -> Vec<ModelAccuracy> {
        self.windows.iter().map(|((model, task), window)| window.sum_up(model, task.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
