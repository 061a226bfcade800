//! [`trial`]: refits models from the log and judges them beside the one that serves. Reads files, changes nothing.

use anyhow::ensure;
use eoscast_log::location::Location;

use eoscast_forecast::fitting::dataset::{Dataset, Selection, Wanted};
use eoscast_forecast::fitting::sample::Sample;
use eoscast_forecast::fitting::train::{TrainingOptions, train_on};
use eoscast_forecast::history::History;
use eoscast_forecast::judging::errors::{ReplyErrors, mean_absolute};
use eoscast_forecast::judging::trained::{judge, reply};
use eoscast_forecast::models::{Artifact, LengthModel, ModelKind, ModelVersion, Serving};

/// What is refitted: what takes seconds.
const KINDS: [ModelKind; 2] = [ModelKind::Logistic, ModelKind::Forest];
/// Newest bytes of the log that are read; a step takes about 1 KB, or 0.5 KB without sketch.
const MOST_BYTES: u64 = 512 << 20;
/// Newest requests that are learnt from or judged on.
const MOST_REQUESTS: usize = 5_000;
/// The newest of them in so many are judged on: one in five.
const HELD_BACK: usize = 5;
/// Fewest requests to judge on.
const LEAST_JUDGED: usize = 40;
/// A candidate is better if its error is less by this many standard errors: 5 % of equals pass.
const STANDARD_ERRORS: f64 = 1.645;

/// The model that serves.
pub(crate) struct Incumbent {
    /// Which.
    pub(crate) kind: ModelKind,
    /// What it started from.
    pub(crate) artifact: Option<Artifact>,
    /// The outcomes so far.
    pub(crate) history: History,
}

/// What a trial found.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The generating model whose requests were used.
    pub(crate) model: String,
    /// Artifact of the best candidate.
    pub(crate) artifact: Artifact,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What served these requests: its version without the outcomes.
    pub(crate) serving: String,
    /// Requests that both were judged on.
    pub(crate) requests: usize,
    /// Mean absolute error of the candidate.
    pub(crate) candidate_mae: f64,
    /// Of what served.
    pub(crate) serving_mae: f64,
    /// Of their difference.
    pub(crate) standard_error: f64,
}

impl Trial {
    /// Whether the candidate is better by more than chance.
    pub(crate) fn is_better(&self) -> bool {
        self.serving_mae - self.candidate_mae > STANDARD_ERRORS * self.standard_error
    }
}

/// Refits on the older requests of the log, and judges on the newest, of which neither side has seen anything: the model that
/// serves is set back to before them. Requests of the generating model with most of them are used.
///
/// # Errors
/// When the log cannot be read or holds too little; says how much is needed.
pub(crate) fn trial(location: &Location, incumbent: &Incumbent, options: &TrainingOptions) -> anyhow::Result<Trial> {
    let requests = TrialRequests::load(location)?;
    let candidates = requests.refit(&KINDS, incumbent.artifact.as_ref(), options)?;
    requests.judge(incumbent, candidates)
}

/// The requests of a trial.
pub(crate) struct TrialRequests {
    /// To learn from.
    older: Dataset,
    /// To judge on: the newest, if they are served out.
    held_back: Vec<Sample>,
    /// Number of the first outcome among the newest.
    first_held_back: u64,
}

/// A model that was refitted.
#[derive(Clone)]
pub(crate) struct Candidate {
    artifact: Artifact,
    bytes: Vec<u8>,
}

impl TrialRequests {
    pub(crate) fn load(location: &Location) -> anyhow::Result<Self> {
        let selection = Selection { model: Wanted::Commonest, bytes: MOST_BYTES, ..Selection::default() };
        let mut older = Dataset::load(location.path(), &selection, |_| {})?;
        older.samples.drain(..older.samples.len().saturating_sub(MOST_REQUESTS));
        let newest = older.samples.split_off(older.samples.len() - older.samples.len() / HELD_BACK);
        let first_held_back = newest.first().map_or(u64::MAX, |sample| sample.outcome_number);
        let held_back: Vec<Sample> = newest.into_iter().filter(Sample::is_served_out).collect();
        ensure!(
            held_back.len() >= LEAST_JUDGED,
            "there are {} requests to judge on, at least {LEAST_JUDGED} are needed, about {} finished ones in all",
            held_back.len(),
            HELD_BACK * LEAST_JUDGED
        );
        Ok(Self { older, held_back, first_held_back })
    }

    /// Fits a model of each of the `kinds`, for all names that `serving` was trained for.
    pub(crate) fn refit(
        &self,
        kinds: &[ModelKind],
        serving: Option<&Artifact>,
        options: &TrainingOptions,
    ) -> anyhow::Result<Vec<Candidate>> {
        let model = &self.older.model;
        let names = serving.into_iter().filter(|artifact| artifact.is_for(model));
        let others = names.flat_map(|artifact| &artifact.start.trained_for).filter(|name| *name != model);
        let options = TrainingOptions { also_for: others.cloned().collect(), ..options.clone() };
        let all: Vec<usize> = (0..self.older.samples.len()).collect();
        let fit = |kind: &ModelKind| {
            let bytes = train_on(*kind, &self.older, &all, &options, &mut |_| {})?;
            let artifact = Artifact::parse(&bytes)?.at(format!("retrained-{}", kind.as_str()));
            Ok(Candidate { artifact, bytes })
        };
        kinds.iter().map(fit).collect()
    }

    /// The best of the `candidates` beside the model that serves.
    pub(crate) fn judge(&self, incumbent: &Incumbent, candidates: Vec<Candidate>) -> anyhow::Result<Trial> {
        let history = before(&incumbent.history, self.first_held_back);
        let serving = Serving::new(incumbent.kind, incumbent.artifact.as_ref(), &history);
        let serving = serving.model_for(&self.older.model);
        let serving_errors = errors(serving, &self.held_back);
        let judged = candidates.into_iter().map(|Candidate { artifact, bytes }| {
            let model = artifact.kind.build(Some(&artifact), &History::default());
            let found = errors(model.as_ref(), &self.held_back);
            let (candidate_mae, serving_mae, standard_error) = compare(&found, &serving_errors);
            Trial {
                model: self.older.model.clone(),
                artifact,
                bytes,
                serving: ModelVersion::family_of(serving),
                requests: self.held_back.len(),
                candidate_mae,
                serving_mae,
                standard_error,
            }
        });
        judged
            .min_by(|a, b| a.candidate_mae.total_cmp(&b.candidate_mae))
            .ok_or_else(|| anyhow::anyhow!("there is no model to refit"))
    }
}

/// The history as it was before outcome `number`.
pub(super) fn before(history: &History, number: u64) -> History {
    let later = history.seen.saturating_sub(number.saturating_sub(1));
    let mut before = history.clone();
    before.recent.truncate(history.recent.len().saturating_sub(usize::try_from(later).unwrap_or(usize::MAX)));
    before.seen -= later.min(history.seen);
    before
}

/// Mean absolute error of each reply.
fn errors(model: &dyn LengthModel, samples: &[Sample]) -> Vec<f64> {
    let of_sample = |sample: &Sample| {
        let reply = reply(sample, String::new());
        let (judged, _) = judge(model, sample, &reply);
        mean_absolute(&ReplyErrors::of(&[judged]), &[1.0]).unwrap_or_default()
    };
    samples.iter().map(of_sample).collect()
}

/// The mean of each side's errors, reply by reply, and the standard error of the difference.
fn compare(candidate: &[f64], serving: &[f64]) -> (f64, f64, f64) {
    let count = candidate.len().max(1) as f64;
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / count;
    let (candidate_mae, serving_mae) = (mean(candidate), mean(serving));
    let spread = |(c, s): (&f64, &f64)| (s - c - (serving_mae - candidate_mae)).powi(2);
    let variance = candidate.iter().zip(serving).map(spread).sum::<f64>() / (count - 1.0).max(1.0);
    (candidate_mae, serving_mae, (variance / count).sqrt())
}
