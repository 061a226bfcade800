//! [`StepLog`]: samples of a log that has lines of steps and nothing else, as other engines write it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use eoscast_log::foreign::{self, AnyStep, Ending, Reply};
use eoscast_log::intake::Intake;
use eoscast_log::record::Arrival;
use eoscast_log::step_reading::{Findings, StepReading};
use eoscast_proto::domain::{FinishReason, RequestId};
use half::f16;

use super::left_out::{BEGUN_BEFORE, END_NOT_KNOWN, END_NOT_LOGGED, IGNORES_EOS, STEERED_AT_ONCE};
use super::sample::{Sample, Step};

/// The model of a log that names none.
pub(crate) const UNNAMED: &str = "unnamed";

/// What is kept of a step.
struct KeptStep {
    step: Step,
    sketch: Vec<f16>,
}

/// Collects samples from lines of steps.
#[derive(Default)]
pub(crate) struct StepLog {
    reading: StepReading<KeptStep>,
    /// Numbers of a sketch, by model: two models of one log may have different ones.
    sketch_lengths: HashMap<Option<Arc<str>>, usize>,
}

impl StepLog {
    /// Reads the lines of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<()> {
        let lengths = &mut self.sketch_lengths;
        self.reading.file(path, None, foreign::parse, |step: &AnyStep| {
            let is_sketched = !step.sketch.is_empty();
            if is_sketched && *lengths.entry(step.model.clone()).or_insert(step.sketch.len()) != step.sketch.len() {
                return Err("sketch: has another length than in the steps before");
            }
            Ok(KeptStep {
                step: Step { step: step.tokens, token_id: step.token_id, signals: step.signals, is_sketched },
                sketch: step.sketch.iter().map(|value| f16::from_f32(*value)).collect(),
            })
        })
    }

    /// What was found beside the requests so far.
    pub(crate) fn intake(&self) -> &Intake {
        self.reading.intake()
    }

    /// The requests of each model.
    pub(crate) fn models(self) -> (BTreeMap<String, Requests>, Findings) {
        let (models, findings) = self.reading.into_replies();
        let name = |model: Option<Arc<str>>| model.as_deref().unwrap_or(UNNAMED).to_owned();
        (models.into_iter().map(|(model, replies)| (name(model), Requests { replies })).collect(), findings)
    }
}

/// The requests of one model.
#[derive(Default)]
pub(crate) struct Requests {
    replies: Vec<Reply<KeptStep>>,
}

impl Requests {
    /// How many there are, finished or not.
    pub(crate) fn count(&self) -> u64 {
        self.replies.len() as u64
    }

    /// The intake of these requests out of what the whole log holds.
    pub(crate) fn intake(&self, findings: Findings) -> Intake {
        findings.of(&self.replies)
    }

    /// Those that can be used, in the order in which they finished; the others are counted by reason.
    pub(crate) fn samples(mut self, intake: &mut Intake) -> Vec<Sample> {
        let longest = self.replies.iter().map(Reply::length).max().unwrap_or(0);
        self.replies.sort_by_key(|reply| reply.finished);
        let mut samples = vec![];
        for reply in self.replies {
            match reason_of(&reply) {
                Ok(reason) => samples.extend(sample(reply, reason, samples.len() as u64 + 1, longest)),
                Err(left_out) => *intake.left_out.entry(left_out).or_default() += 1,
            }
        }
        samples
    }
}

/// Why the reply ended, or why it tells nothing.
fn reason_of(reply: &Reply<KeptStep>) -> Result<FinishReason, &'static str> {
    let reason = match reply.ending {
        None => return Err(END_NOT_LOGGED),
        Some(Ending::Unknown) => return Err(END_NOT_KNOWN),
        Some(Ending::By(reason)) => reason,
    };
    match reply.first() {
        _ if reply.ignore_eos => Err(IGNORES_EOS),
        _ if reply.steered_from() == Some(1) => Err(STEERED_AT_ONCE),
        1 => Ok(reason),
        _ => Err(BEGUN_BEFORE),
    }
}

fn sample(mut reply: Reply<KeptStep>, finish_reason: FinishReason, number: u64, longest: u32) -> Option<Sample> {
    let came_to = reply.length();
    let steered_from = reply.steered_from();
    let length = steered_from.map_or(came_to, |step| step.saturating_sub(1));
    let at_limit = finish_reason == FinishReason::Length;
    let mut steps = vec![];
    let mut sketches = vec![];
    let mut sketch_length = 0;
    for (tokens, kept) in reply.take_steps().filter(|(tokens, _)| *tokens <= length) {
        sketch_length = sketch_length.max(kept.sketch.len());
        sketches.extend(kept.sketch);
        steps.push(Step { step: tokens, ..kept.step });
    }
    Some(Sample {
        request_id: id_of(&reply.request_id)?,
        outcome_number: number,
        task: reply.task,
        arrival: Arrival {
            prompt_length: reply.prompt_length,
            max_tokens: reply.max_tokens,
            temperature: reply.temperature,
            ignore_eos: false,
            prompt: None,
        },
        limit: reply.max_tokens.unwrap_or(if at_limit { came_to } else { longest }),
        finish_reason,
        length,
        ended: !finish_reason.is_censored() && steered_from.is_none(),
        steps,
        sketches,
        sketch_length,
    })
}

/// The id, with what ours may not have written as `%` and its code; `None` if it is empty.
fn id_of(text: &str) -> Option<RequestId> {
    const LONGEST: usize = 128;
    let escaped: String = text
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let cut = escaped.get(..LONGEST).unwrap_or(&escaped).to_owned();
    RequestId::try_from(cut).ok()
}

#[cfg(test)]
mod tests;
