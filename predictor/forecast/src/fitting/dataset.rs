//! [`Dataset`]: finished requests with their steps, read from an event log whatever stands in it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use eoscast_log::location::{Location, Segment, Series};
use eoscast_log::reader::{BadLines, LineReader};
use eoscast_log::record::{Arrival, RequestLine, StepLine};
use eoscast_proto::domain::{FinishReason, RequestId, StepEvent, StepSignals, WorkerId};
use half::f16;
use sha2::{Digest, Sha256};

use super::intake::{Intake, Trouble};
use crate::features::{FeatureRow, FeatureState};
use eoscast_log::tail::NewestSteps;

/// The signals of one step.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    step: u32,
    token_id: u32,
    signals: StepSignals,
    /// Its sketch is told.
    is_sketched: bool,
}

/// One finished request.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which.
    pub request_id: RequestId,
    /// 1 for the first outcome of the log, and so on.
    pub outcome_number: u64,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// What was known before the first token.
    pub arrival: Arrival,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens that came naturally: all, or those before length control set in.
    pub length: u32,
    /// It ended by itself, so that `length` is its natural length; else it would have had more.
    pub ended: bool,
    steps: Vec<Step>,
    /// Of the steps that have one, in half precision as features keep them; each has `sketch_length` numbers.
    sketches: Vec<f16>,
    sketch_length: usize,
}

impl Sample {
    /// Its steps in order.
    pub fn events(&self) -> impl Iterator<Item = StepEvent> {
        let mut sketches = self.sketches.chunks(self.sketch_length.max(1));
        self.steps.iter().map(move |step| {
            let sketch = if step.is_sketched { sketches.next() } else { None };
            StepEvent {
                request_id: self.request_id.clone(),
                step: step.step,
                token_id: step.token_id,
                signals: step.signals,
                finish_reason: None,
                eos_bias: 0.0,
                sketch: sketch.unwrap_or_default().iter().map(|value| value.to_f32()).collect(),
            }
        })
    }

    /// The rows that a predictor sees: that of the arrival, then one per step at which the reply was to go on.
    pub fn rows(&self) -> impl Iterator<Item = FeatureRow> {
        let mut state = FeatureState::new(self.arrival, 0);
        let arrival = state.row();
        let live = self.events().take_while(|event| event.step < self.length);
        std::iter::once(arrival).chain(live.map(move |event| state.observe(&event)))
    }

    /// The row after the prompt was read and before the first token; nothing without a sketch.
    pub fn prefilled(&self) -> Option<FeatureRow> {
        let first = self.events().next().filter(|event| event.step == 1 && !event.sketch.is_empty())?;
        Some(FeatureState::new(self.arrival, 0).prefilled(&first.sketch))
    }

    /// Whether its service length is known: it ended by itself or at `max_tokens`.
    pub fn is_served_out(&self) -> bool {
        self.ended || self.finish_reason == FinishReason::Length && self.length == self.arrival.max_tokens
    }

    /// Name of its prompt: samples of one prompt are called `name#number`.
    pub fn prompt_name(&self) -> &str {
        let id = self.request_id.as_str();
        id.rsplit_once('#').map_or(id, |(name, _)| name)
    }
}

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
    /// Whose requests.
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
    /// Reads the log at `path`, a folder or a file as `serve` and `collect` write it; `progress` is told the bytes of each file
    /// that is done.
    ///
    /// # Errors
    /// When there is no log, a file cannot be read, requests of several models are mixed and none is chosen, or there are bad
    /// lines and these are to be refused.
    pub fn load(path: &Path, selection: &Selection<'_>, mut progress: impl FnMut(u64)) -> anyhow::Result<Self> {
        let location = Location::parse(path);
        let name = || path.display().to_string();
        let (requests, _) = location.newest(Series::Requests, selection.bytes).with_context(name)?;
        let NewestSteps { segments: steps, since } = NewestSteps::of(&location, selection.bytes).with_context(name)?;
        ensure!(
            !requests.is_empty() && !steps.is_empty(),
            "{}: has no event log; give the folder that collect or serve writes",
            path.display()
        );
        let mut intake = Intake::default();
        let mut reading = Reading::default();
        let mut hash = Sha256::new();
        for Segment { path, .. } in &requests {
            each(
                path,
                &mut intake,
                |line: RequestLine, _| {
                    if line.started_at < since { None } else { reading.request(&line) }
                },
            )?;
            progress(hash_file(path, &mut hash)?);
        }
        let model = choose(&reading.models, selection.model)?;
        reading.requests.retain(|_, sample| sample.model == model);
        for Segment { path, .. } in &steps {
            each(path, &mut intake, |line: StepLine, intake| reading.step(&line, intake))?;
            progress(hash_file(path, &mut hash)?);
        }
        intake.check(selection.bad_lines).with_context(|| path.display().to_string())?;
        let samples = reading.finish(&mut intake)?;
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { model, samples, intake, hash })
    }

    /// Tokens of all samples.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.length)).sum()
    }
}

/// Hands each line of `file` to `apply`, which says what is wrong with it, if anything.
fn each<T: serde::de::DeserializeOwned>(
    file: &Path,
    intake: &mut Intake,
    mut apply: impl FnMut(T, &mut Intake) -> Option<Trouble>,
) -> anyhow::Result<()> {
    let name = || file.display().to_string();
    let mut reader = LineReader::open(file).with_context(name)?;
    while let Some(line) = reader.read_line().with_context(name)? {
        match line {
            Ok((_, line)) => {
                if let Some(trouble) = apply(line, intake) {
                    intake.push(trouble, |reason| reader.damage(reason));
                }
            }
            Err(damage) => intake.damages.push(damage),
        }
    }
    Ok(())
}

fn hash_file(file: &Path, hash: &mut Sha256) -> anyhow::Result<u64> {
    struct Hasher<'a>(&'a mut Sha256);
    impl io::Write for Hasher<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let name = || file.display().to_string();
    io::copy(&mut File::open(file).with_context(name)?, &mut Hasher(hash)).with_context(name)
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

struct Open {
    model: String,
    number: usize,
    sample: Sample,
    reused: bool,
    first_length: u32,
    steered_from: Option<u32>,
}

#[derive(Default)]
struct Reading {
    requests: HashMap<Key, Open>,
    models: BTreeMap<String, u64>,
}

impl Reading {
    fn request(&mut self, line: &RequestLine) -> Option<Trouble> {
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
        self.requests.insert(key, Open { model, number, sample, reused: false, first_length, steered_from });
        None
    }

    fn step(&mut self, line: &StepLine, intake: &mut Intake) -> Option<Trouble> {
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

    fn finish(self, intake: &mut Intake) -> anyhow::Result<Vec<Sample>> {
        let mut all: Vec<Open> = self.requests.into_values().collect();
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
