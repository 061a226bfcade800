//! [`Dataset`]: finished requests with their steps, collected from the lines of an event log whatever stands in it.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail, ensure};
use eoscast_log::reader::BadLines;
use eoscast_log::record::{RequestLine, StepLine};
use eoscast_proto::domain::{RequestId, WorkerId};
use half::f16;

use super::intake::{Intake, Trouble};
use super::sample::{Sample, Step};

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

type Key = (WorkerId, u64, RequestId);

const NO_STEPS: &str = "none of its steps is in the log";
const REUSED: &str = "its name was used more than once by one run of a worker";
const BEGUN_BEFORE: &str = "it began before the predictor saw it";
const ABORTED_AT_ONCE: &str = "it was aborted before any step";
const IGNORES_EOS: &str = "it could not end by itself (ignore_eos)";
const STEERED_AT_ONCE: &str = "length control steered it from the first step on";

impl Dataset {
    /// Tokens of all samples.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.length)).sum()
    }
}

fn choose(found: &BTreeMap<String, u64>, wanted: Wanted<'_>) -> anyhow::Result<String> {
    let list: Vec<_> = found.iter().map(|(name, requests)| format!("{name} ({requests} requests)")).collect();
    let list = list.join(", ");
    let commonest = found.iter().max_by_key(|(_, requests)| **requests).map(|(name, _)| name.clone());
    match wanted {
        Wanted::Named(name) if found.contains_key(name) => Ok(name.to_owned()),
        Wanted::Named(name) => bail!("no request in the log is of the model {name}; there are: {list}"),
        Wanted::Only if found.len() > 1 => bail!("the log mixes models: {list}; choose one with --model-name"),
        Wanted::Only | Wanted::Commonest => commonest.context("the log has no finished request"),
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
    /// Keeps the requests of the model that is wanted; gives its name.
    ///
    /// # Errors
    /// When there is none, or the log has several and none is chosen.
    pub fn choose(&mut self, wanted: Wanted<'_>) -> anyhow::Result<String> {
        let model = choose(&self.models, wanted)?;
        self.requests.retain(|_, collected| collected.model == model);
        Ok(model)
    }

    /// Takes in the line of a finished request; says what is wrong with it, if anything.
    pub fn request(&mut self, line: &RequestLine) -> Option<Trouble> {
        *self.models.entry(line.model.as_ref().to_owned()).or_default() += 1;
        let number = self.requests.len();
        let outcome = line.outcome();
        let key = (line.worker_id.clone(), line.epoch, line.request_id.clone());
        if let Some(known) = self.requests.get_mut(&key) {
            known.reused = true;
            return Some(Trouble::Repeat(format!("request {} has ended before", line.request_id)));
        }
        let sample = Sample {
            request_id: line.request_id.clone(),
            outcome_number: line.outcome_number,
            task: line.task.clone(),
            arrival: line.arrival(),
            finish_reason: line.finish_reason,
            length: outcome.length,
            ended: !outcome.censored,
            steps: vec![],
            sketches: vec![],
            sketch_length: 0,
        };
        let model = line.model.as_ref().to_owned();
        let (first_length, steered_from) = (line.first_length, line.steered_from);
        self.requests.insert(key, Collected { model, number, sample, reused: false, first_length, steered_from });
        None
    }

    /// Takes in the line of a step; says what is wrong with it, if anything.
    pub fn step(&mut self, line: &StepLine, intake: &mut Intake) -> Option<Trouble> {
        let Some(event) = line.event() else { return Some(Trouble::Impossible("has impossible signals")) };
        let open = self.requests.get_mut(&(line.worker_id.clone(), line.epoch, line.request_id.clone()))?;
        let sample = &mut open.sample;
        if event.step > sample.length {
            let natural = open.steered_from.is_none();
            return natural.then_some(Trouble::Impossible("is behind the end of its request"));
        }
        let last = sample.steps.last().map_or(0, |step| step.step);
        if event.step <= last {
            return Some(Trouble::Repeat(format!(
                "step {} of request {} is not after {last}",
                event.step, line.request_id
            )));
        }
        let is_sketched = !event.sketch.is_empty();
        if is_sketched && sample.sketches.is_empty() {
            sample.sketch_length = event.sketch.len();
        } else if is_sketched && event.sketch.len() != sample.sketch_length {
            return Some(Trouble::Impossible("sketch: has another length than in the steps before"));
        }
        let missing = event.step - last - 1;
        intake.missing_steps += u64::from(missing);
        sample.sketches.extend(event.sketch.iter().map(|value| f16::from_f32(*value)));
        sample.steps.push(Step { step: event.step, token_id: event.token_id, signals: event.signals, is_sketched });
        (missing > 0)
            .then(|| Trouble::Gap(format!("{missing} steps of request {} are missing before this", line.request_id)))
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
                Some(reason) => *intake.left_out.entry(reason).or_default() += 1,
                None => samples.push(sample),
            }
        }
        let mut sketches: Vec<usize> = samples.iter().map(|sample| sample.sketch_length).collect();
        sketches.sort_unstable();
        sketches.dedup();
        ensure!(
            sketches.len() <= 1,
            "the log mixes requests with sketches of {sketches:?} numbers, which no model can learn from; keep them in \
             separate folders"
        );
        Ok(samples)
    }
}

#[cfg(test)]
mod tests;
