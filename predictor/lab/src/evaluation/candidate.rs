//! [`Candidate`]: a forecaster to be judged.

use std::time::Duration;

use anyhow::{Context, bail};
use eoscast_forecast::history::History;
use eoscast_forecast::models::{Artifact, LengthModel, ModelKind};

use super::baselines::{Baseline, Ridge};
use super::held_out::HeldOut;
use super::report::ModelReport;
use super::{Judged, trained};

/// What every model is compared with, by name. [`LENGTH_ONLY`] has to be fitted, the others are rules or follow outcomes.
pub(crate) const BASELINES: [&str; 10] = [
    "mean",
    "max-tokens",
    "prompt",
    "prior",
    "threshold",
    LENGTH_ONLY,
    "oracle",
    "oracle-noise(0.2)",
    "oracle-noise(0.5)",
    "oracle-noise(1)",
];

/// The model that sees lengths only.
pub(crate) const LENGTH_ONLY: &str = "length-only";

/// A forecaster.
pub(crate) enum Candidate<'a> {
    /// A rule that answers a point.
    Rule(Baseline),
    /// A model that learns from outcomes alone.
    FromOutcomes(ModelKind),
    /// A model that was trained.
    Trained(&'a Artifact),
}

impl Candidate<'_> {
    /// The baseline `name`, which learns from the requests for training.
    ///
    /// # Errors
    /// There is no such baseline, there is too little to learn from, or it has to be fitted.
    pub(crate) fn baseline(name: &str, data: &HeldOut<'_>) -> anyhow::Result<Self> {
        Ok(Self::Rule(match name {
            "mean" => Baseline::mean(&data.past)?,
            "max-tokens" => Baseline::MaxTokens,
            "prompt" => Baseline::Prompt(Ridge::fit(&data.past)?),
            "oracle" => Baseline::Oracle,
            _ => match ModelKind::parse(name) {
                Some(kind) if kind.is_trained() => bail!("{name} has to be trained"),
                Some(kind) => return Ok(Self::FromOutcomes(kind)),
                None => {
                    let cv = name.trim_start_matches("oracle-noise(").trim_end_matches(')');
                    Baseline::OracleNoise(cv.parse().with_context(|| format!("{name} is no baseline"))?)
                }
            },
        }))
    }

    /// Judges it on what is held out.
    pub(crate) fn judge(&self, data: &HeldOut<'_>) -> ModelReport {
        match self {
            Self::Rule(rule) => {
                let judged: Vec<Judged<'_>> = data.replies.iter().map(|reply| rule.judge(reply)).collect();
                ModelReport::new(&rule.name(), &judged, None)
            }
            Self::FromOutcomes(kind) => judge(kind.build(None, &data.history).as_ref(), data),
            Self::Trained(artifact) => judge(artifact.kind.build(Some(artifact), &History::default()).as_ref(), data),
        }
    }
}

/// The artifact with the least error in `reports`, which are in the same order; `None` without any.
pub(crate) fn best<'a>(artifacts: &'a [Artifact], reports: &[ModelReport]) -> Option<&'a Artifact> {
    let error = |report: &ModelReport| report.mae.unwrap_or(f64::INFINITY);
    let pairs = artifacts.iter().zip(reports);
    pairs.min_by(|a, b| error(a.1).total_cmp(&error(b.1))).map(|(artifact, _)| artifact)
}

fn judge(model: &dyn LengthModel, data: &HeldOut<'_>) -> ModelReport {
    let pairs = data.samples.iter().zip(&data.replies);
    let (judged, times): (Vec<Judged<'_>>, Vec<Duration>) =
        pairs.map(|(sample, reply)| trained::judge(model, sample, reply)).unzip();
    let answers: usize = judged.iter().map(|one| one.answers.len()).sum();
    let took: Duration = times.iter().sum();
    ModelReport::new(model.name(), &judged, Some(took.as_secs_f64() * 1e6 / answers.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use eoscast_forecast::fitting::synthetic::dataset;

    use super::*;

    #[test]
    fn every_baseline_but_the_fitted_one_is_made_of_the_requests_for_training() {
        let log = dataset(200, 4);
        let data = HeldOut::new(&log, None, 1).unwrap();
        for name in BASELINES {
            assert_eq!(Candidate::baseline(name, &data).is_ok(), name != LENGTH_ONLY, "{name}");
        }
        let error = Candidate::baseline("crystal ball", &data).err().unwrap().to_string();
        assert!(error.contains("crystal ball is no baseline"), "{error}");
    }

    #[test]
    fn without_artifacts_there_is_no_best() {
        assert!(best(&[], &[]).is_none());
    }
}
