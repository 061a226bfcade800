//! Reads the lines of the event log back. Whatever stands in the files: damage is told, not followed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Longest line that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A line that is not one of the log's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File it stands in.
    pub path: PathBuf,
    /// Line number from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

/// What becomes of lines that are not as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BadLines {
    /// Tell of them, and go on without them.
    #[default]
    Skip,
    /// Tell of them, and do nothing.
    Refuse,
}

/// Damaged lines: all counted, the first of them kept.
#[derive(Debug, Clone, Default)]
pub struct Damages {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Damage>,
}

impl Damages {
    const KEPT: usize = 20;

    /// Counts one more.
    pub fn push(&mut self, damage: Damage) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(damage);
        }
    }
}

/// A line of the log and where it stands, or the damage found in its place.
pub type ReadLine<T> = Result<(u64, T), Damage>;

/// The lines of one file, in order. Holds one line in memory.
pub struct LineReader {
    path: PathBuf,
    input: BufReader<File>,
    line: u64,
    buffer: Vec<u8>,
}

impl LineReader {
    /// From the start of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 18, File::open(path)?),
            line: 0,
            buffer: vec![],
        })
    }

    /// The next line with its number from 1; `None` at the end of the file. Empty lines are passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_line<T: DeserializeOwned>(&mut self) -> io::Result<Option<ReadLine<T>>> {
        loop {
            self.buffer.clear();
            let read = (&mut self.input).take(LONGEST_LINE + 1).read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 > LONGEST_LINE {
                if self.buffer.last() != Some(&b'\n') {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some(Err(self.damage(format!("is longer than {LONGEST_LINE} bytes")))));
            }
            if !self.buffer.trim_ascii().is_empty() {
                let parsed = serde_json::from_slice(&self.buffer);
                return Ok(Some(
                    parsed.map(|value| (self.line, value)).map_err(|error| self.damage(error.to_string())),
                ));
            }
        }
    }

    /// The damage of a line that was read last.
    pub fn damage(&self, reason: impl Into<String>) -> Damage {
        Damage { path: self.path.clone(), line: self.line, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{StepLine, tests::step_line};

    fn read(text: &[u8]) -> Vec<ReadLine<StepLine>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut reader = LineReader::open(file.path()).unwrap();
        std::iter::from_fn(|| reader.read_line().unwrap()).collect()
    }

    #[test]
    fn damaged_lines_are_told_by_number_and_the_others_read() {
        let good = serde_json::to_vec(&step_line()).unwrap();
        let negative = String::from_utf8(good.clone()).unwrap().replace("\"step\":3", "\"step\":-3").into_bytes();
        let not_a_number = String::from_utf8(good.clone()).unwrap().replace("-4.5", "NaN").into_bytes();
        let huge = vec![b'x'; 3 << 20];
        let text = [&good[..], b"\xff\xfe", b"{", &negative, &not_a_number, &huge, b"", &good, b"null"].join(&b'\n');
        let lines = read(&text);
        let damaged: Vec<u64> = lines.iter().filter_map(|line| line.as_ref().err().map(|damage| damage.line)).collect();
        let whole: Vec<u64> = lines.iter().filter_map(|line| line.as_ref().ok().map(|(number, _)| *number)).collect();
        assert_eq!((damaged, whole), (vec![2, 3, 4, 5, 6, 9], vec![1, 8]));
        assert!(lines[5].as_ref().unwrap_err().to_string().contains(":6: is longer than"));
    }
}
