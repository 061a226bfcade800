//! [`Dataset`]: finished requests with their steps, collected from the lines of an event log whatever stands in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use eoscast_log::foreign::{AnyStep, MOST_TOKENS};
use eoscast_log::intake::{Intake, Trouble};
use eoscast_log::reader::BadLines;
use eoscast_log::record::RequestLine;
use half::f16;

use super::left_out::{
    ABORTED_AT_ONCE, BEGUN_BEFORE, IGNORES_EOS, NO_STEPS, NOT_LEARNED, OTHER_MODEL, REUSED, STEERED_AT_ONCE,
};
use super::sample::{Sample, Step};
use super::step_log::{StepLog, UNNAMED};

/// Which generating model's requests are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The only one that the log has.
    #[default]
    Only,
    /// The one of this name.
    Named(&'a str),
    /// The one with most requests.
    Commonest,
}

/// What is read of a log.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Which generating model's requests to use.
    pub model: Wanted<'a>,
    /// What becomes of bad lines.
    pub bad_lines: BadLines,
    /// Newest bytes of each series; requests that began before are left out.
    pub bytes: u64,
}

impl Default for Selection<'_> {
    fn default() -> Self {
        Self { model: Wanted::Only, bad_lines: BadLines::Skip, bytes: u64::MAX }
    }
}

/// Finished requests of one generating model.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Name of the generating model.
    pub model: String,
    /// In the order in which they finished.
    pub samples: Vec<Sample>,
    /// What was found beside them.
    pub intake: Intake,
    /// SHA-256 of the log's files, in order.
    pub hash: String,
}

type Key = (Arc<str>, u64, Arc<str>);

const NO_RUN: &str =
    "has no worker_id or no epoch, so that its request is not known: the log has several runs of workers";

impl Dataset {
    /// The samples of a log that has lines of steps only, the name of their model, and what else was found. Where the log names none, the name that is
    /// wanted is theirs.
    ///
    /// # Errors
    /// When no request can be used, or the log has several models and none is chosen.
    pub(crate) fn of_steps(log: StepLog, wanted: Wanted<'_>) -> anyhow::Result<(String, Vec<Sample>, Intake)> {
        let notes = log.intake().notes();
        let (mut models, findings) = log.models();
        if let Wanted::Named(name) = wanted
            && models.len() == 1
            && let Some(unnamed) = models.remove(UNNAMED)
        {
            models.insert(name.to_owned(), unnamed);
        }
        let found: BTreeMap<_, _> = models.iter().map(|(name, requests)| (name.clone(), requests.count())).collect();
        let model = choose(&found, wanted, &notes)?;
        let requests = models.remove(&model).unwrap_or_default();
        let mut intake = requests.intake(findings);
        leave_out(&mut intake, OTHER_MODEL, found.values().sum::<u64>() - requests.count());
        let samples = requests.samples(&mut intake);
        check_sketches(&samples)?;
        Ok((model, samples, intake))
    }

    /// Tokens of all samples.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.length)).sum()
    }
}

/// Counts requests that are left out for this reason.
fn leave_out(intake: &mut Intake, reason: &'static str, requests: u64) {
    if requests > 0 {
        *intake.left_out.entry(reason).or_default() += requests;
    }
}

/// The model whose requests to use, of those `found` with so many requests each; `notes` say what the log holds beside them.
fn choose(found: &BTreeMap<String, u64>, wanted: Wanted<'_>, notes: &[String]) -> anyhow::Result<String> {
    ensure!(!found.is_empty(), "no request can be used\n{}", notes.join("\n"));
    let list: Vec<_> = found.iter().map(|(name, requests)| format!("{name} ({requests} requests)")).collect();
    let list = list.join(", ");
    let commonest = found.iter().max_by_key(|(_, requests)| **requests).map(|(name, _)| name.clone());
    match wanted {
        Wanted::Named(name) if found.contains_key(name) => Ok(name.to_owned()),
        Wanted::Named(name) => bail!("no request in the log is of the model {name}; there are: {list}"),
        Wanted::Only if found.len() > 1 => bail!("the log mixes models: {list}; choose one with --model-name"),
        Wanted::Only | Wanted::Commonest => commonest.context("no request can be used"),
    }
}

struct Collected {
    model: String,
    number: usize,
    sample: Sample,
    reused: bool,
    first_length: u32,
    steered_from: Option<u32>,
}

/// Collects the samples of one generating model: first all lines of requests, then the choice of the model, then all lines of
/// steps.
#[derive(Default)]
pub struct Collector {
    requests: HashMap<Key, Collected>,
    models: BTreeMap<String, u64>,
}

impl Collector {
    /// Keeps the requests of the model that is wanted and counts the others in `intake`; gives its name.
    ///
    /// # Errors
    /// When there is none, or the log has several and none is chosen.
    pub fn choose(&mut self, wanted: Wanted<'_>, intake: &mut Intake) -> anyhow::Result<String> {
        let model = choose(&self.models, wanted, &intake.notes())?;
        let all = self.requests.len();
        self.requests.retain(|_, collected| collected.model == model);
        leave_out(intake, OTHER_MODEL, (all - self.requests.len()) as u64);
        Ok(model)
    }

    /// Takes in the line of a finished request; says what is wrong with it, if anything.
    pub fn request(&mut self, line: &RequestLine) -> Option<Trouble> {
        if line.output_length > MOST_TOKENS {
            return Some(Trouble::Impossible("output_length is of more tokens than any reply has"));
        }
        let number = self.requests.len();
        let outcome = line.outcome();
        let key = (Arc::from(line.worker_id.as_str()), line.epoch, Arc::from(line.request_id.as_str()));
        if let Some(known) = self.requests.get_mut(&key) {
            known.reused = true;
            return Some(Trouble::Repeat(format!("request {} has ended before", line.request_id)));
        }
        let sample = Sample {
            request_id: line.request_id.clone(),
            outcome_number: line.outcome_number,
            task: line.task.clone(),
            arrival: line.arrival(),
            limit: line.max_tokens,
            finish_reason: line.finish_reason,
            length: outcome.length,
            ended: !outcome.censored,
            steps: vec![],
            sketches: vec![],
            sketch_length: 0,
        };
        let model = line.model.as_ref().to_owned();
        *self.models.entry(model.clone()).or_default() += 1;
        let (first_length, steered_from) = (line.first_length, line.steered_from);
        self.requests.insert(key, Collected { model, number, sample, reused: false, first_length, steered_from });
        None
    }

    /// Takes in the line of a step; says what is wrong with it, if anything.
    pub fn step(&mut self, line: &AnyStep, intake: &mut Intake) -> Option<Trouble> {
        let (Some(worker_id), Some(epoch)) = (line.worker_id.clone(), line.epoch) else {
            return Some(Trouble::Impossible(NO_RUN));
        };
        let Some(open) = self.requests.get_mut(&(worker_id, epoch, line.request_id.clone())) else {
            return Some(Trouble::PassedOver);
        };
        let sample = &mut open.sample;
        if line.tokens > sample.length {
            let is_steered = open.steered_from.is_some();
            return Some(if is_steered {
                Trouble::PassedOver
            } else {
                Trouble::Impossible("comes after the end of its request")
            });
        }
        let last = sample.steps.last().map_or(0, |step| step.step);
        if line.tokens <= last {
            return Some(Trouble::Repeat(format!(
                "step {} of request {} is not after {last}",
                line.tokens, line.request_id
            )));
        }
        let is_sketched = !line.sketch.is_empty();
        if is_sketched && sample.sketches.is_empty() {
            sample.sketch_length = line.sketch.len();
        } else if is_sketched && line.sketch.len() != sample.sketch_length {
            return Some(Trouble::Impossible("sketch: has another length than in the steps before"));
        }
        intake.steps += 1;
        intake.unknown_eos += u64::from(line.signals.eos_logprob.is_none());
        let missing = line.tokens - last - 1;
        sample.sketches.extend(line.sketch.iter().map(|value| f16::from_f32(*value)));
        sample.steps.push(Step { step: line.tokens, token_id: line.token_id, signals: line.signals, is_sketched });
        (missing > 0).then(|| Trouble::Gap(missing, line.request_id.to_string()))
    }

    /// The samples that can be used, in the order in which they finished; the others are counted by reason.
    ///
    /// # Errors
    /// When sketches have different lengths.
    pub fn finish(self, intake: &mut Intake) -> anyhow::Result<Vec<Sample>> {
        let mut all: Vec<Collected> = self.requests.into_values().collect();
        all.sort_unstable_by_key(|open| open.number);
        let mut samples = vec![];
        for open in all {
            let sample = open.sample;
            let reason = if open.reused {
                Some(REUSED)
            } else if sample.outcome_number == 0 {
                Some(NOT_LEARNED)
            } else if sample.arrival.ignore_eos {
                Some(IGNORES_EOS)
            } else if open.first_length > 0 {
                Some(BEGUN_BEFORE)
            } else if open.steered_from.is_some() && sample.length == 0 {
                Some(STEERED_AT_ONCE)
            } else if sample.length == 0 {
                Some(ABORTED_AT_ONCE)
            } else if sample.steps.is_empty() {
                Some(NO_STEPS)
            } else {
                None
            };
            match reason {
                Some(reason) => leave_out(intake, reason, 1),
                None => samples.push(sample),
            }
        }
        check_sketches(&samples)?;
        Ok(samples)
    }
}

/// # Errors
/// When sketches have different lengths.
fn check_sketches(samples: &[Sample]) -> anyhow::Result<()> {
    let mut sketches: Vec<usize> = samples.iter().map(|sample| sample.sketch_length).collect();
    sketches.sort_unstable();
    sketches.dedup();
    ensure!(
        sketches.len() <= 1,
        "the log mixes requests with sketches of {sketches:?} numbers, which no model can learn from; keep them in \
         separate folders"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
