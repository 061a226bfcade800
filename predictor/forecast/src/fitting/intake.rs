//! [`Intake`]: what was found in a log beside the requests that are used.

use std::collections::BTreeMap;

use anyhow::bail;
use eoscast_log::reader::{BadLines, Damage, Damages};

/// What was found in a log and not used, or used as it is.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    /// Lines that could not be read, or that cannot be.
    pub damages: Damages,
    /// Lines that repeat a step, go back behind one or tell of a request again; not used.
    pub repeats: Damages,
    /// Lines before which steps of the same request are missing; used.
    pub gaps: Damages,
    /// How many steps are missing there.
    pub missing_steps: u64,
    /// Requests left out, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// What is wrong with a line that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be.
    Impossible(&'static str),
    /// It tells again what another line has told.
    Repeat(String),
    /// Steps are missing before it.
    Gap(String),
}

impl Intake {
    /// Notes what is wrong with a line; `place` makes a reason the damage of that line.
    pub fn push(&mut self, trouble: Trouble, place: impl FnOnce(String) -> Damage) {
        match trouble {
            Trouble::Impossible(reason) => self.damages.push(place(reason.to_owned())),
            Trouble::Repeat(reason) => self.repeats.push(place(reason)),
            Trouble::Gap(reason) => self.gaps.push(place(reason)),
        }
    }

    /// What there is to say of it, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![];
        let mut tell = |lines: &Damages, what: String| {
            if lines.count > 0 {
                notes.push(what);
                notes.extend(lines.first.iter().map(|damage| format!("  {damage}")));
            }
        };
        tell(&self.damages, format!("{} damaged lines skipped", self.damages.count));
        tell(&self.repeats, format!("{} repeated lines skipped", self.repeats.count));
        tell(&self.gaps, format!("{} steps are missing, before {} lines", self.missing_steps, self.gaps.count));
        notes.extend(self.left_out.iter().map(|(reason, count)| format!("{count} requests left out: {reason}")));
        notes
    }

    /// Refuses a log with lines that are not as they should be, if that is wanted.
    ///
    /// # Errors
    /// When there are such lines; the first of them are named.
    pub fn check(&self, bad_lines: BadLines) -> anyhow::Result<()> {
        if bad_lines == BadLines::Refuse && self.damages.count + self.repeats.count + self.gaps.count > 0 {
            let notes = Self { left_out: BTreeMap::new(), ..self.clone() }.notes();
            bail!("the log has bad lines, and --bad-lines is refuse:\n{}", notes.join("\n"));
        }
        Ok(())
    }
}
