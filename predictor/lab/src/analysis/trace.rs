//! [`Trace`]: the steps of one request as figures need them, read from any log that has the twelve classic fields.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use eoscast_log::foreign::files::LogFiles;
use eoscast_log::foreign::{self, AnyStep, Ending, Reply};
use eoscast_log::intake::Intake;
use eoscast_log::step_reading::StepReading;
use eoscast_proto::domain::FinishReason;

/// Signals that a log may have beside the EOS probability.
pub(crate) const OPTIONAL_SIGNALS: [&str; 6] =
    ["entropy", "token log-prob", "top log-prob", "EOS rank", "sentence-end log-prob", "newline log-prob"];

/// Logarithms of probabilities are raised to this: smaller probabilities all count as this one.
const LEAST_LOGPROB: f32 = -69.0;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Stopped,
    /// At its limit, or steered, so that the natural length is only known to be larger.
    Cut,
    /// Aborted, failed, or not in the log.
    Unknown,
}

/// What one step said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Tokens generated, this one included.
    pub(crate) tokens: u32,
    /// Natural logarithm of the EOS probability, if the log has it.
    pub(crate) eos_logprob: Option<f32>,
    /// In the order of [`OPTIONAL_SIGNALS`].
    pub(crate) optional: [Option<f32>; OPTIONAL_SIGNALS.len()],
}

impl Step {
    fn of(step: &AnyStep) -> Self {
        let signals = &step.signals;
        Self {
            tokens: step.tokens,
            eos_logprob: signals.eos_logprob.map(|logprob| logprob.max(LEAST_LOGPROB)),
            optional: [
                signals.entropy,
                signals.token_logprob,
                signals.top_logprob,
                signals.eos_rank.map(|rank| rank as f32),
                signals.sentence_end_logprob,
                signals.newline_logprob,
            ],
        }
    }

    /// The EOS probability, if the log has it.
    pub(crate) fn eos_prob(&self) -> Option<f64> {
        self.eos_logprob.map(|logprob| f64::from(logprob).exp())
    }
}

/// The steps of one request, in order.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Kind of work, if known.
    pub(crate) task: Option<Arc<str>>,
    /// Tokens of the prompt, if known.
    pub(crate) prompt_length: Option<u32>,
    /// How it ended.
    pub(crate) end: End,
    /// Never empty.
    pub(crate) steps: Vec<Step>,
}

impl Trace {
    fn of(mut reply: Reply<Step>) -> Self {
        let steps = reply.take_steps().map(|(tokens, step)| Step { tokens, ..step }).collect();
        Self { end: end(&reply), task: reply.task, prompt_length: reply.prompt_length, steps }
    }

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
    /// Model they are of, if the log says so.
    pub(crate) model: Option<Arc<str>>,
    /// How many step lines were used, and which were not.
    pub(crate) intake: Intake,
    /// Files that were read, oldest first.
    pub(crate) files: Vec<PathBuf>,
    /// Names of files beside them that are no logs.
    pub(crate) other_files: Vec<String>,
}

impl Traces {
    /// What was not used, and what is not known, a line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = self.intake.notes();
        if !self.other_files.is_empty() {
            notes.push(format!("not read: {}", self.other_files.join(", ")));
        }
        notes
    }
}

/// How a reply ended. One that was steered, or could not end, does not become a natural one at its end.
fn end(reply: &Reply<Step>) -> End {
    match reply.ending {
        _ if reply.ignore_eos => End::Unknown,
        Some(Ending::By(FinishReason::Abort | FinishReason::Error) | Ending::Unknown) => End::Unknown,
        _ if reply.steered_from().is_some() => End::Cut,
        Some(Ending::By(FinishReason::Length)) => End::Cut,
        Some(Ending::By(FinishReason::Stop)) => End::Stopped,
        None => End::Unknown,
    }
}

/// Reads the log at `path`, a folder or a file; `progress` gets the bytes of each file that is done. Where a log mixes models,
/// `model` says which is meant.
///
/// # Errors
/// When there is nothing to read, a file cannot be read, or the log mixes models and none was chosen.
pub(crate) fn read(path: &Path, model: Option<&str>, mut progress: impl FnMut(u64)) -> anyhow::Result<Traces> {
    let LogFiles { files, others } =
        LogFiles::of(path).with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(!files.is_empty(), "no log at {}; give a folder with steps-*.jsonl or a .jsonl file", path.display());
    let mut reading = StepReading::default();
    for file in &files {
        let read = reading.file(file, model, foreign::parse_signals, |step| Ok(Step::of(step)));
        read.with_context(|| format!("{} cannot be read", file.display()))?;
        progress(std::fs::metadata(file).map_or(0, |metadata| metadata.len()));
    }
    let traces = traces(reading, model).with_context(|| path.display().to_string())?;
    Ok(Traces { files, other_files: others, ..traces })
}

fn traces(reading: StepReading<Step>, model: Option<&str>) -> anyhow::Result<Traces> {
    let models: Vec<_> = reading.models().clone().into_iter().collect();
    let name = |(model, lines): &(Option<Arc<str>>, u64)| {
        format!("{} ({lines} lines)", model.as_deref().unwrap_or("none named"))
    };
    let names = models.iter().map(name).collect::<Vec<_>>().join(", ");
    if model.is_none() && models.len() > 1 {
        bail!("the log mixes models: {names}; choose one with --model");
    }
    let (replies, findings) = reading.into_replies();
    let replies: Vec<_> = replies.into_values().flatten().collect();
    let intake = findings.of(&replies);
    if replies.is_empty() {
        let of_model = model.map_or_else(String::new, |model| format!(" of model {model}"));
        let names = if models.is_empty() { "none" } else { names.as_str() };
        bail!("no usable step line{of_model}; models: {names}\n{}", intake.notes().join("\n"));
    }
    let model = model.map(Arc::from).or_else(|| models.into_iter().next().and_then(|(model, _)| model));
    Ok(Traces { traces: replies.into_iter().map(Trace::of).collect(), model, intake, ..Traces::default() })
}
