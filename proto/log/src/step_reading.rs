//! [`StepReading`]: reads step lines of any log, files in order, into replies.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::foreign::{AnyStep, Fault, Replies, Reply, Taken};
use crate::intake::{Intake, Trouble};
use crate::reader::Damage;

/// The replies of each generating model; those of an unknown one under `None`.
type RepliesOfModels<T> = BTreeMap<Option<Arc<str>>, Vec<Reply<T>>>;

/// The replies of the step lines read so far, and what was found beside them. `T` is what is kept of a step.
#[derive(Debug)]
pub struct StepReading<T> {
    replies: Replies<T>,
    intake: Intake,
    /// Step lines that can be read, by model.
    models: BTreeMap<Option<Arc<str>>, u64>,
    /// Each file with the number of its first line, counted over all files from 1.
    files: Vec<(u32, PathBuf)>,
    lines: u32,
}

impl<T> Default for StepReading<T> {
    fn default() -> Self {
        Self {
            replies: Replies::default(),
            intake: Intake::default(),
            models: BTreeMap::new(),
            files: vec![],
            lines: 0,
        }
    }
}

impl<T> StepReading<T> {
    /// Reads the file at `path`, and of it the lines of `model`, or all. `parse` is [`foreign::parse`](crate::foreign::parse) or one like
    /// it; `keep` gives what is kept of a step, or why its line cannot be used.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn file(
        &mut self,
        path: &Path,
        model: Option<&str>,
        parse: impl Fn(&[u8]) -> Result<(AnyStep, Vec<&'static str>), Fault>,
        mut keep: impl FnMut(&AnyStep) -> Result<T, &'static str>,
    ) -> io::Result<()> {
        let Self { replies, intake, models, files, lines } = self;
        let first = lines.saturating_add(1);
        files.push((first, path.to_owned()));
        intake.each_line(path, parse, |read, reader, intake| {
            *lines = first.saturating_add(u32::try_from(reader.line() - 1).unwrap_or(u32::MAX));
            *models.entry(read.0.model.clone()).or_default() += 1;
            if model.is_some_and(|name| read.0.model.as_deref() != Some(name)) {
                intake.other_models += 1;
                return;
            }
            intake.step(read, reader, |step, _| match keep(step) {
                Err(reason) => Some(Trouble::Impossible(reason)),
                Ok(kept) => match replies.take(step, *lines, || kept) {
                    Taken::Used => None,
                    Taken::Repeat => Some(Trouble::Repeat(format!(
                        "step {} of request {} is there twice; the first is used",
                        step.tokens, step.request_id
                    ))),
                },
            });
        })
    }

    /// What was found beside the replies so far, but for gaps: lines that come later may fill them.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The models that lines name, with the number of their lines; `None` for lines that name none.
    pub fn models(&self) -> &BTreeMap<Option<Arc<str>>, u64> {
        &self.models
    }

    /// The replies of each model, in the order of their first steps.
    pub fn into_replies(self) -> (RepliesOfModels<T>, Findings) {
        let mut models: BTreeMap<_, Vec<Reply<T>>> = BTreeMap::new();
        for reply in self.replies.into_all() {
            models.entry(reply.model.clone()).or_default().push(reply);
        }
        (models, Findings { intake: self.intake, files: self.files })
    }
}

/// What was found beside the replies, before one model is chosen.
#[derive(Debug)]
pub struct Findings {
    /// Without steps and gaps.
    intake: Intake,
    files: Vec<(u32, PathBuf)>,
}

impl Findings {
    /// The intake of the replies of one model: their steps and gaps are counted now that no line can come late.
    pub fn of<T>(self, replies: &[Reply<T>]) -> Intake {
        let Self { mut intake, files } = self;
        let mut gaps: Vec<_> =
            replies.iter().flat_map(|reply| reply.gaps().map(move |gap| (gap.line, gap.missing, reply))).collect();
        gaps.sort_by_key(|(line, ..)| *line);
        for (line, missing, reply) in gaps {
            intake.missing_steps += u64::from(missing);
            intake.gaps.push(gap_before(&files, line, Intake::gap(missing, &reply.request_id)));
        }
        for reply in replies {
            intake.steps += reply.step_count();
            intake.unknown_eos += reply.unknown_eos();
        }
        intake
    }
}

/// The damage of a line that is known by its number over all files.
fn gap_before(files: &[(u32, PathBuf)], line: u32, reason: String) -> Damage {
    let file = files.partition_point(|(first, _)| *first <= line).checked_sub(1).and_then(|at| files.get(at));
    let (first, path) = file.map_or((line, PathBuf::new()), |(first, path)| (*first, path.clone()));
    Damage { path, line: u64::from(line - first) + 1, kind: Intake::GAP, reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::foreign;
    use crate::reader::BadLines;

    fn line(request: &str, step: u32, eos_logprob: f64) -> String {
        json!({ "request_id": request, "step": step, "timestamp": step, "eos_logprob": eos_logprob }).to_string()
    }

    fn read(files: &[&[String]]) -> Intake {
        let folder = tempfile::tempdir().unwrap();
        let mut reading = StepReading::default();
        for (i, lines) in files.iter().enumerate() {
            let path = folder.path().join(format!("{i}.jsonl"));
            std::fs::write(&path, lines.join("\n")).unwrap();
            reading.file(&path, None, foreign::parse, |_| Ok(())).unwrap();
        }
        let (models, findings) = reading.into_replies();
        findings.of(&models.into_values().flatten().collect::<Vec<_>>())
    }

    #[test]
    fn a_gap_that_a_late_line_fills_is_none() {
        let late = read(&[&[line("a", 1, -1.0), line("a", 3, -1.0)], &[line("a", 2, -1.0)]]);
        assert_eq!((late.steps, late.missing_steps, late.gaps.count), (3, 0, 0));
        assert!(late.check(BadLines::Refuse).is_ok() && late.notes().is_empty(), "{:?}", late.notes());
    }

    #[test]
    fn a_gap_is_named_by_the_file_and_the_line_behind_it() {
        let gaps = read(&[
            &[line("a", 1, -1.0), line("a", 2, -1.0)],
            &["{".to_owned(), line("b", 1, -1.0), line("a", 5, -1.0)],
            &[line("b", 3, -1.0)],
        ])
        .gaps;
        let told: Vec<_> = gaps.first.iter().map(|damage| damage.to_string()).collect();
        assert!(told[0].ends_with("1.jsonl:3: 2 steps of request a are missing before this"), "{told:?}");
        assert!(told[1].ends_with("2.jsonl:1: 1 steps of request b are missing before this"), "{told:?}");
    }

    #[test]
    fn each_line_that_is_not_used_counts_once_and_is_no_step() {
        let odd = r#"{"request_id":"a","step":1,"timestamp":1,"eos_logprob":-1.0,"entropy":"high"}"#.to_owned();
        // The step again with a value that is not understood, a broken line, an impossible value, and a step without EOS probability.
        let unknown = r#"{"request_id":"a","step":2,"timestamp":2}"#.to_owned();
        let intake = read(&[&[line("a", 1, -1.0), odd, "{".to_owned(), line("a", 2, 3.0), unknown]]);
        assert_eq!((intake.steps, intake.damages.count, intake.repeats.count, intake.odd.count), (2, 2, 1, 0));
        assert_eq!(intake.unknown_eos, 1);
    }

    #[test]
    fn a_refused_log_is_refused_for_what_is_wrong_with_it_and_nothing_else() {
        let error = read(&[&["{".to_owned(), line("a", 1, -1.0)]]).check(BadLines::Refuse).unwrap_err().to_string();
        assert!(error.contains("1 damaged lines") && !error.contains("missing"), "{error}");
    }
}
