//! [`EvaluationReport`]: everything the protocol asks about several models, as one JSON object.

use std::collections::BTreeMap;

use eoscast_proto::domain::{END_WITHIN, Forecast, QUANTILE_LEVELS};
use serde::{Deserialize, Serialize};

use super::bootstrap::Bootstrap;
use super::ending::{self, EndingScores};
use super::errors::{self, ReplyErrors};
use super::example::Example;
use super::intervals::{IntervalScores, covered};
use super::lead_time::{self, Alarm};
use super::permutation::Permutation;
use super::rank::{self, tau_b};
use super::reliability::{self, Reliability};
use super::reservation::{self, Reserved, When};
use super::weight::{age_bin, by_bin, each_by_bin, overall, progress_bin, weighted_mean};
use super::{FinishedReply, Judged};

/// Models judged on the same replies. Figures that cannot be had are null. Lengths are in tokens, `*_ci` are intervals of 95 %,
/// `*_by_bin` go by progress in fifths and `*_by_age` by [`AGES`](eoscast_forecast::age::AGES).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EvaluationReport {
    /// In the order in which they were given.
    pub(crate) models: Vec<ModelReport>,
    /// Replies judged.
    pub(crate) requests: u64,
    /// Their tokens.
    pub(crate) tokens: u64,
    /// Replies that were cut at `max_tokens`.
    pub(crate) cut: u64,
    /// Which model, prompts and sampling the replies are of.
    pub(crate) description: String,
    /// Judged as a model on the replies whose prompt was sampled several times; see [`noise_floor`](super::noise_floor).
    #[serde(default)]
    pub(crate) noise_floor: Option<NoiseFloor>,
    /// What the best trained model loses without groups of features, if that was asked.
    #[serde(default)]
    pub(crate) permutation: Option<Permutation>,
}

/// The error that is left when each prompt's own distribution of lengths is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NoiseFloor {
    /// Replies whose prompt was sampled several times.
    pub(crate) requests: u64,
    /// Their prompts.
    pub(crate) prompts: u64,
    /// The figures.
    pub(crate) report: ModelReport,
}

/// One model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelReport {
    /// Which.
    pub(crate) name: String,
    /// Mean absolute error of the median.
    pub(crate) mae: Option<f64>,
    /// Its interval.
    pub(crate) mae_ci: Option<[f64; 2]>,
    /// Median absolute error of the median.
    pub(crate) median_error: Option<f64>,
    /// Mean of forecast mean - truth.
    pub(crate) bias: Option<f64>,
    /// Of the mean.
    pub(crate) r2: Option<f64>,
    /// Its interval.
    pub(crate) r2_ci: Option<[f64; 2]>,
    /// Kendall's tau-b of the median by percent of progress; 0 is once the prompt was read, before any token.
    pub(crate) tau: BTreeMap<String, Option<f64>>,
    /// The same of the mean, which schedulers may order by.
    #[serde(default)]
    pub(crate) tau_mean: BTreeMap<String, Option<f64>>,
    /// Of the median, before the prompts were read.
    #[serde(default)]
    pub(crate) tau_arrival: Option<f64>,
    /// Their intervals.
    pub(crate) tau_ci: BTreeMap<String, Option<[f64; 2]>>,
    /// `mae` by progress.
    pub(crate) mae_by_bin: [Option<f64>; 5],
    /// `bias` by progress.
    pub(crate) bias_by_bin: [Option<f64>; 5],
    /// `mae` by tokens generated so far.
    pub(crate) mae_by_age: [Option<f64>; 5],
    /// `bias` by tokens generated so far.
    pub(crate) bias_by_age: [Option<f64>; 5],
    /// `intervals["90"].coverage_by_age`.
    pub(crate) coverage90_by_age: [Option<f64>; 5],
    /// Their intervals.
    #[serde(default)]
    pub(crate) coverage90_by_age_ci: [Option<[f64; 2]>; 5],
    /// `intervals["90"].width_by_age`.
    pub(crate) width90_by_age: [Option<f64>; 5],
    /// `intervals["90"].coverage_by_bin`.
    pub(crate) coverage90_by_bin: [Option<f64>; 5],
    /// Intervals of 50, 80 and 90 %.
    pub(crate) intervals: BTreeMap<String, IntervalScores>,
    /// Mean pinball loss.
    pub(crate) pinball: Option<f64>,
    /// `ends_within["16"].auroc`.
    pub(crate) auroc16: Option<f64>,
    /// Its interval.
    pub(crate) auroc16_ci: Option<[f64; 2]>,
    /// `ends_within["16"].brier`.
    pub(crate) brier16: Option<f64>,
    /// By number of tokens.
    pub(crate) ends_within: BTreeMap<String, EndingScores>,
    /// By percent of replies with a false alarm.
    pub(crate) lead_time: BTreeMap<String, Option<Alarm>>,
    /// All thresholds.
    pub(crate) alarms: Vec<Alarm>,
    /// Over-reserved by true tokens, by percent of under-allocated replies; reserved once.
    pub(crate) over_reserved_once: BTreeMap<String, Option<f64>>,
    /// The same, updated every step.
    pub(crate) over_reserved_updated: BTreeMap<String, Option<f64>>,
    /// All levels, reserved once.
    pub(crate) frontier_once: Vec<Reserved>,
    /// All levels, updated every step.
    pub(crate) frontier_updated: Vec<Reserved>,
    /// By level.
    pub(crate) quantile_reliability: [Option<Reliability>; QUANTILE_LEVELS.len()],
    /// Of "ends within 16", by forecast probability.
    pub(crate) ending_reliability: Vec<Reliability>,
    /// Forecasts of typical replies.
    pub(crate) examples: Vec<Example>,
    /// CPU time of one forecast in microseconds, if it was measured.
    pub(crate) us_per_estimate: Option<f64>,
}

impl ModelReport {
    /// Judges the model `name`.
    pub(crate) fn new(name: &str, judged: &[Judged<'_>], us_per_estimate: Option<f64>) -> Self {
        let bootstrap = Bootstrap::new(judged);
        let errors = ReplyErrors::of(judged);
        let once_each = vec![1.0; judged.len()];
        let ranked =
            rank::PROGRESS.map(|percent| (percent.to_string(), rank::at_progress(judged, percent, Forecast::median)));
        let by_mean = |percent| tau_b(rank::at_progress(judged, percent, |answer| f64::from(answer.mean)));
        let horizons = std::array::from_fn::<_, { END_WITHIN.len() }, _>(|i| ending::cases(judged, i));
        let within_16 = &horizons[lead_time::HORIZON];
        let ends_within: BTreeMap<_, _> =
            END_WITHIN.iter().zip(&horizons).map(|(k, cases)| (k.to_string(), EndingScores::of(cases))).collect();
        let intervals = [50, 80, 90u32]
            .map(|percent| (percent.to_string(), IntervalScores::of(judged, f64::from(percent) / 100.0)));
        let [.., (_, interval90)] = intervals.clone();
        let covered90 = each_by_bin(judged, age_bin, covered(0.9));
        let alarms = lead_time::alarms(judged);
        let frontier_once = reservation::frontier(judged, When::Once);
        let frontier_updated = reservation::frontier(judged, When::Updated);
        let endings = &ends_within[&END_WITHIN[lead_time::HORIZON].to_string()];
        Self {
            name: name.to_owned(),
            mae: errors::mean_absolute(&errors, &once_each),
            mae_ci: bootstrap.interval(|weights| errors::mean_absolute(&errors, weights)),
            median_error: errors::median_absolute(judged),
            bias: overall(judged, errors::signed),
            r2: errors::r2(&errors, &once_each),
            r2_ci: bootstrap.interval(|weights| errors::r2(&errors, weights)),
            tau: ranked.iter().map(|(percent, pairs)| (percent.clone(), tau_b(pairs.clone()))).collect(),
            tau_mean: rank::PROGRESS.map(|percent| (percent.to_string(), by_mean(percent))).into(),
            tau_arrival: tau_b(rank::on_arrival(judged)),
            tau_ci: ranked
                .iter()
                .map(|(percent, pairs)| {
                    (percent.clone(), bootstrap.interval(|weights| tau_b(rank::repeat(pairs, weights))))
                })
                .collect(),
            mae_by_bin: by_bin(judged, progress_bin, errors::absolute),
            bias_by_bin: by_bin(judged, progress_bin, errors::signed),
            mae_by_age: by_bin(judged, age_bin, errors::absolute),
            bias_by_age: by_bin(judged, age_bin, errors::signed),
            coverage90_by_age: interval90.coverage_by_age,
            coverage90_by_age_ci: std::array::from_fn(|bin| {
                let of_bin = |weights: &[f64]| {
                    weighted_mean(covered90.iter().map(|bins| bins[bin]).zip(weights.iter().copied()))
                };
                bootstrap.interval(of_bin)
            }),
            width90_by_age: interval90.width_by_age,
            coverage90_by_bin: interval90.coverage_by_bin,
            intervals: intervals.into(),
            pinball: errors::pinball(judged),
            auroc16: endings.auroc,
            auroc16_ci: bootstrap
                .interval(|weights| ending::auroc(within_16, |case| case.weight * weights[case.reply])),
            brier16: endings.brier,
            lead_time: at(lead_time::RATES, |rate| lead_time::at_rate(&alarms, rate)),
            over_reserved_once: at(reservation::SHARES, |share| reservation::at_share(&frontier_once, share)),
            over_reserved_updated: at(reservation::SHARES, |share| reservation::at_share(&frontier_updated, share)),
            quantile_reliability: reliability::of_quantiles(judged),
            ending_reliability: reliability::of_endings(within_16),
            examples: Example::typical(judged),
            ends_within,
            alarms,
            frontier_once,
            frontier_updated,
            us_per_estimate,
        }
    }
}

/// A figure for each of several percentages.
fn at<T, const N: usize>(percents: [u32; N], figure: impl Fn(f64) -> Option<T>) -> BTreeMap<String, Option<T>> {
    percents.into_iter().map(|percent| (percent.to_string(), figure(f64::from(percent) / 100.0))).collect()
}

impl EvaluationReport {
    /// Of `models` that were judged on `replies`; `description` says which model, prompts and sampling these are of. `several` are
    /// replies with several samples to a prompt, for the noise floor.
    pub(crate) fn new(
        replies: &[FinishedReply],
        models: Vec<ModelReport>,
        description: &str,
        several: &[FinishedReply],
    ) -> Self {
        let floor = super::noise_floor::noise_floor(several);
        let prompts: std::collections::HashSet<_> = floor.iter().map(|one| &one.reply.group).collect();
        let noise_floor = (!floor.is_empty()).then(|| NoiseFloor {
            requests: floor.len() as u64,
            prompts: prompts.len() as u64,
            report: ModelReport::new("noise-floor", &floor, None),
        });
        Self {
            models,
            requests: replies.len() as u64,
            tokens: replies.iter().map(|reply| u64::from(reply.output_length)).sum(),
            cut: replies.iter().filter(|reply| !reply.ended).count() as u64,
            description: description.to_owned(),
            noise_floor,
            permutation: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::evaluation::baselines::Baseline;
    use eoscast_forecast::judging::testing::{knows_the_law, uniform_replies};

    fn report() -> EvaluationReport {
        let replies = uniform_replies(60, 300, 200);
        let oracle: Vec<_> = replies.iter().map(|reply| Baseline::Oracle.judge(reply)).collect();
        let models = vec![
            ModelReport::new("law", &knows_the_law(&replies, 300), Some(1.5)),
            ModelReport::new("oracle", &oracle, None),
        ];
        EvaluationReport::new(&replies, models, "uniform lengths", &replies)
    }

    #[test]
    fn the_report_has_the_keys_that_are_promised() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["requests"], 60);
        assert!(json["tokens"].as_u64().unwrap() > 60);
        let model = &json["models"][0];
        assert_eq!((&model["name"], &model["us_per_estimate"]), (&json!("law"), &json!(1.5)));
        for key in ["mae", "r2", "auroc16", "brier16"] {
            assert!(model[key].is_f64(), "{key}: {}", model[key]);
        }
        let lengths = |key: &str| model[key].as_array().map(Vec::len);
        assert_eq!(lengths("mae_ci"), Some(2));
        for key in [
            "mae_by_bin",
            "bias_by_bin",
            "coverage90_by_age",
            "coverage90_by_age_ci",
            "width90_by_age",
            "coverage90_by_bin",
        ] {
            assert_eq!(lengths(key), Some(5), "{key}");
        }
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&model["tau"]), ["0", "25", "50", "75"]);
        assert_eq!(keys(&model["lead_time"]), ["1", "10", "5"]);
    }

    #[test]
    fn the_interval_of_a_coverage_lies_around_it() {
        let report = report();
        let law = &report.models[0];
        let ([low, high], share) = (law.coverage90_by_age_ci[0].unwrap(), law.coverage90_by_age[0].unwrap());
        // Of 60 replies, whose standard error is 0.04.
        assert!((0.03..0.1).contains(&(share - low)) && share <= high && high <= 1.0, "{low} {share} {high}");
        assert_eq!(report.models[1].coverage90_by_age_ci[0], Some([1.0, 1.0]));
    }

    #[test]
    fn a_report_can_be_read_back() {
        let text = serde_json::to_string(&report()).unwrap();
        let read: EvaluationReport = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn the_oracle_is_perfect_in_every_figure() {
        let oracle = &report().models[1];
        assert_eq!((oracle.mae, oracle.bias, oracle.r2, oracle.pinball), (Some(0.0), Some(0.0), Some(1.0), Some(0.0)));
        assert!(oracle.tau.values().all(|tau| *tau == Some(1.0)), "{:?}", oracle.tau);
        assert_eq!((oracle.auroc16, oracle.brier16), (Some(1.0), Some(0.0)));
        assert_eq!(oracle.lead_time["1"].unwrap().false_alarms, 0.0);
        assert_eq!(oracle.over_reserved_once["1"], Some(0.0));
    }

    #[test]
    fn nothing_to_judge_gives_nulls_and_no_panic() {
        let report = ModelReport::new("none", &[], None);
        assert!(report.mae.is_none() && report.auroc16.is_none() && report.frontier_once.is_empty());
        assert!(serde_json::to_string(&report).is_ok());
    }
}
