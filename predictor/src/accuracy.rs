//! [`Accuracy`]: how good the forecasts of the last finished requests were, by the model that made them and by task. Pure.
//!
//! Of a live request one forecast of each age is kept, drawn at random among those that were sent ([`Watched`]), and stands for
//! all steps of that age: a reply's error is an unbiased estimate of its mean over all steps, as [`evaluation`](crate::evaluation)
//! takes it. Errors are on service length, every reply weighs one.
//!
//! Beside the error stands that of the prior, which knows lengths only, at the same steps. Their ratio tells of drift: it rises as
//! traffic departs from what a model was trained on, and above 1 the model should be trained again or switched off. Coverage
//! alone would not show it, since [`calibration`](eoscast_forecast::calibration) widens intervals until they hold what they promise.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use eoscast_log::forecast::Forecast;
use eoscast_log::record::{Pits, RequestLine};
use eoscast_proto::domain::FinishReason;

use eoscast_forecast::age::age;
use eoscast_forecast::calibration::drawn;
use eoscast_forecast::judging::answer::Answer;
use eoscast_forecast::models::ModelVersion;

/// Replies that a figure rests on at most.
pub const WINDOW: usize = 1_000;
/// Pairs of model and task that are told apart; the one that had no outcome for longest goes first.
const MOST_PAIRS: usize = 64;
/// Probability with which the intervals are to hold the truth.
const SHARE: f64 = 0.9;

/// One forecast of each age of a live request, to be compared with its outcome.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    ages: [Option<WatchedForecast>; Pits::AGES],
}

#[derive(Debug, Clone)]
struct WatchedForecast {
    model_version: Arc<str>,
    step: u32,
    /// Steps of this age so far.
    steps: u32,
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
        forecast: &Forecast,
        prior: impl FnOnce() -> f64,
    ) {
        let place = &mut self.ages[age(step)];
        let steps = place.as_ref().map_or(1, |kept| kept.steps.saturating_add(1));
        if drawn(step, chance, steps) {
            let answer = Answer::from(forecast);
            let (low, high) = answer.interval(SHARE, max_tokens.saturating_sub(step));
            *place = Some(WatchedForecast {
                model_version: forecast.model_version.clone(),
                step,
                steps,
                median: answer.median() as f32,
                mean: forecast.mean,
                interval: [low as f32, high as f32],
                prior_median: prior() as f32,
            });
        } else if let Some(kept) = place {
            kept.steps = steps;
        }
    }

    /// How the forecasts of `family` turned out for a reply of `length` tokens; nothing if there is none.
    fn judge(&self, family: &str, length: u32) -> Option<Turned> {
        let mut turned = Turned::default();
        let mut steps = 0.0f32;
        for (kept, covered) in self.ages.iter().zip(&mut turned.covered) {
            let Some(kept) = kept.as_ref().filter(|kept| kept.step < length && kept.family() == family) else {
                continue;
            };
            let truth = (length - kept.step) as f32;
            let weight = kept.steps as f32;
            turned.absolute += weight * (kept.median - truth).abs();
            turned.signed += weight * (kept.mean - truth);
            turned.prior_absolute += weight * (kept.prior_median - truth).abs();
            *covered = Some(kept.interval[0] <= truth && truth <= kept.interval[1]);
            steps += weight;
        }
        for sum in [&mut turned.absolute, &mut turned.signed, &mut turned.prior_absolute] {
            *sum /= steps;
        }
        (steps > 0.0).then_some(turned)
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
        let mut families: Vec<&str> = watched.ages.iter().flatten().map(WatchedForecast::family).collect();
        families.sort_unstable();
        families.dedup();
        for family in families {
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
