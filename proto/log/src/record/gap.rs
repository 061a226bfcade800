//! [`GapLine`]: lines that the log should have and has not.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::reader::LineReader;

/// Lines of each series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Of arrivals.
    pub starts: u64,
    /// Of finished requests.
    pub requests: u64,
    /// Of steps.
    pub steps: u64,
}

impl LineCounts {
    /// Of all series together.
    pub fn sum(self) -> u64 {
        self.starts + self.requests + self.steps
    }
}

impl AddAssign for LineCounts {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.requests += other.requests;
        self.steps += other.steps;
    }
}

/// A time in which lines were lost, or from which somebody took files away. One line of the file `gaps.jsonl` beside the log, written
/// when the log goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapLine {
    /// When the log went on, seconds since 1970.
    pub timestamp: f64,
    /// When the last line before was written, or later.
    pub since: f64,
    /// What happened.
    pub reason: String,
    /// Lines that are not in the log: at most so many. Those of a file that was moved or truncated may lie elsewhere.
    pub missing: LineCounts,
}

impl GapLine {
    /// Adds it to the file beside the log.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn append(&self, location: &Location) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        // A line before that is torn ends here; empty lines are passed over.
        line.insert(0, b'\n');
        line.push(b'\n');
        OpenOptions::new().append(true).create(true).open(location.gaps())?.write_all(&line)
    }

    /// All of a log, oldest first; lines that are damaged are passed over.
    ///
    /// # Errors
    /// When the file cannot be read; one that is missing tells of none.
    pub fn all(location: &Location) -> io::Result<Vec<Self>> {
        let mut reader = match LineReader::open(&location.gaps()) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut all = vec![];
        while let Some(line) = reader.read_line()? {
            all.extend(line.ok().map(|(_, gap)| gap));
        }
        Ok(all)
    }
}
