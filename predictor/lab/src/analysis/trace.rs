//! [`Trace`]: the steps of one request as figures need them, read from any log that has the twelve classic fields.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use eoscast_log::location::{Location, Series};
use eoscast_log::reader::{BadLines, Damages, LineReader};
use serde::Deserialize;

/// Signals that a log may have beside the EOS probability.
pub(crate) const OPTIONAL_SIGNALS: [&str; 6] =
    ["entropy", "token log-prob", "top log-prob", "EOS rank", "sentence-end log-prob", "newline log-prob"];

/// Least probability told apart, as a logarithm.
const LEAST_LOGPROB: f32 = -69.0;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Stopped,
    /// At its limit, or steered, so that the natural length is only known to be larger.
    Cut,
    /// Aborted, failed, or its end is not in the log.
    Unknown,
}

/// What one step said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Tokens generated, this one included.
    pub(crate) tokens: u32,
    /// Natural logarithm of the EOS probability.
    pub(crate) eos_logprob: f32,
    /// In the order of [`OPTIONAL_SIGNALS`].
    pub(crate) optional: [Option<f32>; OPTIONAL_SIGNALS.len()],
}

impl Step {
    /// The EOS probability.
    pub(crate) fn eos_prob(&self) -> f64 {
        f64::from(self.eos_logprob).exp()
    }
}

/// The steps of one request, in order.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Whose.
    pub(crate) request_id: String,
    /// Kind of work, if known.
    pub(crate) task: Option<Arc<str>>,
    /// Tokens of the prompt.
    pub(crate) prompt_length: u32,
    /// How it ended.
    pub(crate) end: End,
    /// Never empty.
    pub(crate) steps: Vec<Step>,
}

impl Trace {
    /// Tokens generated, as far as the log knows.
    pub(crate) fn length(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.tokens)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// In the order of their first steps.
    pub(crate) traces: Vec<Trace>,
    /// Step lines used.
    pub(crate) lines: u64,
    /// Model they are of, if the log says so.
    pub(crate) model: Option<Arc<str>>,
    /// Lines of other models, left out.
    pub(crate) other_models: u64,
    /// Lines that cannot be used, with the reason.
    pub(crate) damages: Damages,
    /// Steps that are missing between others of the same request.
    pub(crate) missing_steps: u64,
    /// Lines before which steps were missing when they were read.
    pub(crate) gaps: Damages,
}

impl Traces {
    /// Refuses a log with lines that are not as they should be, if that is wanted.
    ///
    /// # Errors
    /// When there are such lines; the first of them are named.
    pub(crate) fn check(&self, bad_lines: BadLines) -> anyhow::Result<()> {
        if bad_lines == BadLines::Refuse && self.damages.count + self.missing_steps > 0 {
            let first: Vec<_> = self.damages.first.iter().chain(&self.gaps.first).map(ToString::to_string).collect();
            bail!(
                "{} lines cannot be used and {} steps are missing, and --bad-lines is refuse:\n{}",
                self.damages.count,
                self.missing_steps,
                first.join("\n")
            );
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Line {
    request_id: String,
    step: u32,
    eos_logprob: Option<f32>,
    eos_prob: Option<f32>,
    current_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    #[serde(default)]
    is_finished: bool,
    finish_reason: Option<String>,
    #[serde(default)]
    prompt_length: u32,
    output_length: Option<u32>,
    entropy: Option<f32>,
    token_logprob: Option<f32>,
    top_logprob: Option<f32>,
    eos_rank: Option<f32>,
    sentence_end_logprob: Option<f32>,
    newline_logprob: Option<f32>,
    task: Option<Arc<str>>,
    model: Option<Arc<str>>,
    worker_id: Option<Box<str>>,
    epoch: Option<u64>,
    #[serde(default)]
    ignore_eos: bool,
    #[serde(default)]
    eos_bias: f32,
}

impl Line {
    fn step(&self) -> Result<Step, &'static str> {
        let logprob = match (self.eos_logprob, self.eos_prob) {
            (Some(logprob), _) => logprob,
            (None, Some(prob)) => prob.ln(),
            (None, None) => return Err("has neither eos_logprob nor eos_prob"),
        };
        if logprob.is_nan() || logprob > 1e-3 {
            return Err("eos_logprob or eos_prob is not of a probability");
        }
        let finite = |value: Option<f32>| value.filter(|value| value.is_finite());
        Ok(Step {
            tokens: self.output_length.unwrap_or(self.step),
            eos_logprob: logprob.clamp(LEAST_LOGPROB, 0.0),
            optional: [
                self.entropy,
                self.token_logprob,
                self.top_logprob,
                self.eos_rank,
                self.sentence_end_logprob,
                self.newline_logprob,
            ]
            .map(finite),
        })
    }

    /// How the request ends with this line, if it does.
    fn end(&self) -> Option<End> {
        if self.ignore_eos {
            return Some(End::Unknown);
        }
        if self.eos_bias > 0.0 {
            return Some(End::Cut);
        }
        self.is_finished.then(|| match self.finish_reason.as_deref() {
            Some("stop" | "eos" | "eos_token" | "end_of_sequence") => End::Stopped,
            Some("length" | "max_tokens" | "max_length") => End::Cut,
            None if self.current_token_id.is_some() && self.current_token_id == self.eos_token_id => End::Stopped,
            None => End::Cut,
            Some(_) => End::Unknown,
        })
    }
}

/// Reads the log at `path`, a folder or a file; `progress` gets the bytes of each file that is done. Where a log mixes models,
/// `model` says which is meant.
///
/// # Errors
/// When there is nothing to read, a file cannot be read, or the log mixes models and none was chosen.
pub(crate) fn read(path: &Path, model: Option<&str>, mut progress: impl FnMut(u64)) -> anyhow::Result<Traces> {
    let files = files(path).with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(!files.is_empty(), "no log at {}; give a folder with steps-*.jsonl or a .jsonl file", path.display());
    let mut reading = Reading::default();
    for file in &files {
        reading.file(file, model).with_context(|| format!("{} cannot be read", file.display()))?;
        progress(std::fs::metadata(file).map_or(0, |metadata| metadata.len()));
    }
    reading.finish(path, model)
}

/// The files to read: the step lines of an event log; in a folder without such, every .jsonl file.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let segments = Location::parse(path).segments(Series::Steps)?;
    if !segments.is_empty() || !path.is_dir() {
        return Ok(segments.into_iter().map(|segment| segment.path).collect());
    }
    let mut files = vec![];
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What tells requests apart: a worker that starts anew may use an id again.
type Key = (String, Option<Box<str>>, Option<u64>, Option<Arc<str>>);

#[derive(Default)]
struct Reading {
    traces: Traces,
    places: HashMap<Key, usize>,
    models: BTreeMap<Option<Arc<str>>, u64>,
}

impl Reading {
    fn file(&mut self, file: &Path, model: Option<&str>) -> io::Result<()> {
        let mut reader = LineReader::open(file)?;
        while let Some(read) = reader.read_line::<Line>()? {
            match read {
                Ok((_, line)) => {
                    *self.models.entry(line.model.clone()).or_default() += 1;
                    if model.is_some_and(|name| line.model.as_deref() != Some(name)) {
                        self.traces.other_models += 1;
                    } else {
                        match self.take(line) {
                            Ok(None) => {}
                            Ok(Some(gap)) => self.traces.gaps.push(reader.damage(gap)),
                            Err(reason) => self.traces.damages.push(reader.damage(reason)),
                        }
                    }
                }
                Err(damage) => self.traces.damages.push(damage),
            }
        }
        Ok(())
    }

    /// Says of what is missing before the line, if anything.
    fn take(&mut self, line: Line) -> Result<Option<String>, String> {
        let step = line.step()?;
        let end = line.end();
        let key = (line.request_id, line.worker_id, line.epoch, line.model);
        let traces = &mut self.traces.traces;
        let place = *self.places.entry(key).or_insert_with_key(|(request_id, ..)| {
            traces.push(Trace {
                request_id: request_id.clone(),
                task: line.task,
                prompt_length: line.prompt_length,
                end: End::Unknown,
                steps: vec![],
            });
            traces.len() - 1
        });
        let trace = &mut traces[place];
        let at = trace.steps.partition_point(|other| other.tokens < step.tokens);
        if trace.steps.get(at).is_some_and(|other| other.tokens == step.tokens) {
            return Err(format!(
                "step {} of request {} is there twice; the first is used",
                step.tokens, trace.request_id
            ));
        }
        let missing = at.checked_sub(1).map_or(0, |before| step.tokens - trace.steps[before].tokens - 1);
        trace.steps.insert(at, step);
        trace.end = match (trace.end, end) {
            // A reply that was steered, or could not end, does not become a natural one at its end.
            (End::Cut, Some(End::Stopped)) => End::Cut,
            (before, end) => end.unwrap_or(before),
        };
        let gap = || format!("{missing} steps of request {} are missing before this", trace.request_id);
        let gap = (missing > 0).then(gap);
        self.traces.lines += 1;
        Ok(gap)
    }

    fn finish(self, path: &Path, model: Option<&str>) -> anyhow::Result<Traces> {
        let Self { mut traces, models, .. } = self;
        let names = || {
            let name = |(model, lines): (&Option<Arc<str>>, &u64)| {
                format!("{} ({lines} lines)", model.as_deref().unwrap_or("none named"))
            };
            models.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        if model.is_none() && models.len() > 1 {
            bail!("{} mixes models: {}; choose one with --model", path.display(), names());
        }
        if traces.traces.is_empty() {
            let first =
                traces.damages.first.first().map_or_else(String::new, |damage| format!("; the first is {damage}"));
            bail!(
                "{} has no usable step line{}; models: {}; damaged lines: {}{first}",
                path.display(),
                model.map_or_else(String::new, |model| format!(" of model {model}")),
                if models.is_empty() { "none".to_owned() } else { names() },
                traces.damages.count
            );
        }
        for trace in &traces.traces {
            let first = trace.steps.first().map_or(0, |step| step.tokens);
            let span = u64::from(trace.length() - first) + 1;
            traces.missing_steps += span - trace.steps.len() as u64;
        }
        traces.model = model.map(Arc::from).or_else(|| models.into_keys().next().flatten());
        Ok(traces)
    }
}
