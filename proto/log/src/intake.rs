//! [`Intake`]: what was found in a log beside what is used.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::bail;

use crate::foreign::{AnyStep, Fault};
use crate::reader::{BadLines, Damages, LineReader};

/// What was found in a log and not used, or used as it is. Each line is counted once.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    /// Lines that cannot be read, or whose values contradict each other or the rest of the log; not used.
    pub damages: Damages,
    /// Lines that repeat a step or go back behind one, or repeat a finished request; not used.
    pub repeats: Damages,
    /// Lines before which steps of the same request are missing; used.
    pub gaps: Damages,
    /// How many steps are missing there.
    pub missing_steps: u64,
    /// Values that are not understood and count as unknown; their lines are used.
    pub odd: Damages,
    /// Steps used.
    pub steps: u64,
    /// Steps whose EOS probability the log does not have; used.
    pub unknown_eos: u64,
    /// Step lines of other models than the one that is read.
    pub other_models: u64,
    /// Step lines that belong to none of the requests that are read, or follow where length control began.
    pub passed_over: u64,
    /// Requests left out, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// What is wrong with a line that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its values contradict each other or the rest of the log.
    Impossible(&'static str),
    /// It repeats what another line has said.
    Repeat(String),
    /// Steps are missing before it: so many, of this request.
    Gap(u32, String),
    /// It is a good line that is not asked for.
    PassedOver,
}

impl Intake {
    /// Reads the file at `path`; hands what `parse` makes of each line to `apply`, with the reader, which knows the line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn each_line<T>(
        &mut self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, Fault>,
        mut apply: impl FnMut(T, &LineReader, &mut Self),
    ) -> io::Result<()> {
        let mut reader = LineReader::open(path)?;
        while let Some(line) = reader.read_with(&parse)? {
            match line {
                Ok((_, value)) => apply(value, &reader, self),
                Err(damage) => self.damages.push(damage),
            }
        }
        Ok(())
    }

    /// Notes what is wrong with the line that was read last.
    pub fn push(&mut self, trouble: Trouble, reader: &LineReader) {
        match trouble {
            Trouble::Impossible(reason) => self.damages.push(reader.damage(reason, reason)),
            Trouble::Repeat(reason) => self.repeats.push(reader.damage("repeats an earlier line", reason)),
            Trouble::Gap(missing, request_id) => {
                self.missing_steps += u64::from(missing);
                self.gaps.push(reader.damage(Self::GAP, Self::gap(missing, &request_id)));
            }
            Trouble::PassedOver => self.passed_over += 1,
        }
    }

    /// The kind of a line in [`gaps`](Self::gaps).
    pub(crate) const GAP: &'static str = "steps are missing before it";

    /// The reason of such a line.
    pub(crate) fn gap(missing: u32, request_id: &str) -> String {
        format!("{missing} steps of request {request_id} are missing before this")
    }

    /// Notes what `apply` says of a step line: its trouble; if the line is used, also the fields that are not understood.
    pub fn step(
        &mut self,
        (step, odd): (AnyStep, Vec<&'static str>),
        reader: &LineReader,
        apply: impl FnOnce(&AnyStep, &mut Self) -> Option<Trouble>,
    ) {
        let trouble = apply(&step, self);
        if matches!(trouble, None | Some(Trouble::Gap(..))) {
            odd.into_iter().for_each(|field| self.odd.push(reader.damage(field, "is not understood")));
        }
        if let Some(trouble) = trouble {
            self.push(trouble, reader);
        }
    }

    /// What there is to say of it, a line each; lines that begin with two spaces explain the one before.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.bad_lines();
        if self.odd.count > 0 {
            notes.push(format!("{} values are not understood and count as unknown", self.odd.count));
            notes.extend(self.odd.by_kind().iter().map(|kind| format!("  {kind}")));
        }
        if self.unknown_eos > 0 {
            notes.push(format!("the EOS probability is not known at {} of {} steps", self.unknown_eos, self.steps));
        }
        let skipped = [
            (self.other_models, "of other models"),
            (self.passed_over, "of requests that are not read, or after length control began"),
        ];
        let told = skipped.iter().filter(|(count, _)| *count > 0);
        notes.extend(told.map(|(count, which)| format!("{count} step lines skipped: {which}")));
        notes.extend(self.left_out.iter().map(|(reason, count)| format!("{count} requests left out: {reason}")));
        notes
    }

    /// The notes on lines that are not as they should be.
    fn bad_lines(&self) -> Vec<String> {
        let mut notes = vec![];
        let mut tell = |lines: &Damages, what: String| {
            if lines.count > 0 {
                notes.push(what);
                notes.extend(lines.by_kind().iter().map(|kind| format!("  {kind}")));
            }
        };
        tell(&self.damages, format!("{} damaged lines skipped", self.damages.count));
        tell(&self.repeats, format!("{} repeated lines skipped", self.repeats.count));
        tell(&self.gaps, format!("{} steps are missing, before {} lines", self.missing_steps, self.gaps.count));
        notes
    }

    /// Refuses a log with lines that are not as they should be, if that is wanted.
    ///
    /// # Errors
    /// When there are such lines; the first of each kind is named.
    pub fn check(&self, bad_lines: BadLines) -> anyhow::Result<()> {
        let notes = self.bad_lines();
        if bad_lines == BadLines::Refuse && !notes.is_empty() {
            bail!("the log has bad lines, and --bad-lines is refuse:\n{}", notes.join("\n"));
        }
        Ok(())
    }
}
