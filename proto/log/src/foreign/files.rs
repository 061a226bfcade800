//! [`LogFiles`]: the files of a log of step lines, oldest first, as rotation leaves them.
//!
//! | order | names |
//! | --- | --- |
//! | by name | `steps-0000000000000000.jsonl`, as we write them; nothing else of the folder then is read |
//! | dated ones, oldest first | `eos-2026-11-29.jsonl`, `eos.jsonl-20261129.gz`, `eos.jsonl.2026-11-29_10` |
//! | numbered ones, highest first | `eos.jsonl.2.gz`, `eos.jsonl.1`; `eos.2.jsonl`, if there is an `eos.jsonl` |
//! | the one being written | `eos.jsonl` |
//!
//! Without an `eos.jsonl`, `eos.0.jsonl` and `eos.1.jsonl` are parts in that order. Of `eos.jsonl.1` and `eos.jsonl.1.gz` only the first is
//! read: they are one file, which somebody is packing.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::location::{GAPS, Location, RETRAININGS, Series};

/// The files of a log of step lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Oldest first.
    pub files: Vec<PathBuf>,
    /// Names of other files that lie beside them.
    pub others: Vec<String>,
}

impl LogFiles {
    /// Of the log at `path`: a file, or all files of a folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let location = Location::parse(path);
        let segments = location.segments(Series::Steps)?;
        if !segments.is_empty() || !path.is_dir() {
            return Ok(Self { files: segments.into_iter().map(|segment| segment.path).collect(), others: vec![] });
        }
        let mut names = vec![];
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        let (files, others) = in_order(names);
        Ok(Self { files: files.into_iter().map(|name| path.join(name)).collect(), others })
    }
}

const EXTENSIONS: [&str; 2] = [".jsonl", ".ndjson"];

/// What rotation added to the name of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Age {
    Dated(Date),
    Numbered(u64),
    Current,
}

/// Dates are ordered by the numbers in them, one after the other, then as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Date {
    numbers: Vec<u64>,
    text: String,
}

/// The place of a file among the others: those of one log together, its oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    log: String,
    turn: Turn,
    /// Decides between files of the same turn, as `eos.2.jsonl` and `eos.jsonl.2`.
    name: String,
}

/// When a file of a log was written. The variants stand in the order in which files are read.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Dated(Date),
    /// Rotation counts up with age: the highest number is the oldest file.
    Rotated(Reverse<u64>),
    /// Parts are numbered as they are written.
    Part(u64),
    Current,
}

/// A name in parts; the place of `age` within it tells rotation from parts.
struct Parts {
    log: String,
    age: Age,
    /// The number stands before the extension.
    is_part: bool,
}

impl Parts {
    /// The turn of the file; a log that `has_current` was rotated, so that none of its files is a part.
    fn turn(self, has_current: bool) -> Turn {
        match self.age {
            Age::Dated(date) => Turn::Dated(date),
            Age::Numbered(number) if self.is_part && !has_current => Turn::Part(number),
            Age::Numbered(number) => Turn::Rotated(Reverse(number)),
            Age::Current => Turn::Current,
        }
    }
}

fn unpacked(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// What stands between and behind the digits of a date.
fn is_of_date(c: char) -> bool {
    c.is_ascii_digit() || "-_.:+TZ".contains(c)
}

/// The parts of the name of a log file.
fn parts(name: &str) -> Option<Parts> {
    let unpacked = unpacked(name);
    let (at, extension) = EXTENSIONS.iter().find_map(|extension| Some((unpacked.rfind(extension)?, extension)))?;
    let (stem, rest) = (unpacked.get(..at)?, unpacked.get(at + extension.len()..)?);
    if !rest.is_empty() {
        let added = rest.strip_prefix(['.', '-', '_'])?;
        return Some(Parts { log: stem.to_owned(), age: age(added)?, is_part: false });
    }
    // Where a date or number at the end of the stem begins.
    let begins = stem.char_indices().rev().take_while(|(_, c)| is_of_date(*c)).last();
    let split = begins.and_then(|(at, _)| {
        let (log, added) = stem.split_at_checked(at)?;
        let added = added.strip_prefix(['.', '-', '_'])?;
        Some(Parts { log: log.to_owned(), age: age(added)?, is_part: true })
    });
    Some(split.unwrap_or(Parts { log: stem.to_owned(), age: Age::Current, is_part: false }))
}

/// A number of few digits counts rotations; longer ones, and several, are a date. Anything else, as `1.zst` or `1.bak`, is neither.
fn age(added: &str) -> Option<Age> {
    if !added.starts_with(|c: char| c.is_ascii_digit()) || !added.chars().all(is_of_date) {
        return None;
    }
    match added.parse() {
        Ok(number) if added.len() <= 5 => Some(Age::Numbered(number)),
        _ => {
            let numbers = added.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
            Some(Age::Dated(Date { numbers: numbers.collect(), text: added.to_owned() }))
        }
    }
}

/// Whether a log of this name has other lines than steps: it lies beside a log of steps of ours.
fn is_companion(log: &str) -> bool {
    let last = log.rsplit('.').next().unwrap_or(log);
    [RETRAININGS, GAPS].contains(&last)
        || [Series::Starts, Series::Requests].iter().any(|series| last == series.as_str())
}

/// The log files among `names` in the order in which they were written, and the others.
fn in_order(names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let names: HashSet<String> = names.into_iter().collect();
    let (mut logs, mut others) = (vec![], vec![]);
    for name in names.iter().filter(|name| !name.starts_with('.') && !name.ends_with(".lock")) {
        let is_copy = unpacked(name) != name.as_str() && names.contains(unpacked(name));
        match parts(name) {
            Some(parts) if is_companion(&parts.log) => {}
            Some(parts) if !is_copy => logs.push((parts, name.clone())),
            _ => others.push(name.clone()),
        }
    }
    let current: HashSet<String> =
        logs.iter().filter(|(parts, _)| parts.age == Age::Current).map(|(parts, _)| parts.log.clone()).collect();
    let place = |(parts, name): (Parts, String)| {
        let has_current = current.contains(&parts.log);
        Place { log: parts.log.clone(), turn: parts.turn(has_current), name }
    };
    let mut places: Vec<Place> = logs.into_iter().map(place).collect();
    places.sort();
    others.sort();
    (places.into_iter().map(|place| place.name).collect(), others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(names: &[&str]) -> Vec<String> {
        // From the wrong end, so that the order given is not the one found by chance.
        in_order(names.iter().rev().map(|name| (*name).to_owned()).collect()).0
    }

    #[test]
    fn rotated_files_come_oldest_first() {
        for names in [
            &["eos.jsonl.10", "eos.jsonl.2.gz", "eos.jsonl.1", "eos.jsonl"][..],
            &["eos.jsonl-20261127.gz", "eos.jsonl-20261128", "eos.jsonl"],
            &["eos-2026-11-28.jsonl.gz", "eos-2026-11-29.jsonl", "eos.jsonl"],
            &["eos.jsonl.2026-11-28_9", "eos.jsonl.2026-11-28_10", "eos.jsonl.2", "eos.jsonl.1", "eos.jsonl"],
            &["eos.2026-11-28_12-00-00_000001.jsonl", "eos.2.jsonl", "eos.1.jsonl", "eos.jsonl"],
            &["part-0.jsonl", "part-1.jsonl", "part-2.jsonl.gz", "part-10.jsonl"],
            &["a.ndjson", "b.jsonl.1", "b.jsonl"],
            &["run-1.jsonl", "run-2.jsonl"],
        ] {
            assert_eq!(ordered(names), names);
        }
    }

    #[test]
    fn files_that_are_no_log_are_named_apart() {
        let names = [
            "eos.jsonl",
            "notes.txt",
            "eos.jsonl.bak",
            "eos.jsonl.1.bak",
            "eos.jsonl.1.zst",
            "eos.jsonl-20261128.zst",
            "collection.json",
            "eos.lock",
            ".hidden",
            "eos.requests.jsonl",
            "eos.retrainings.jsonl",
        ];
        let (files, others) = in_order(names.map(str::to_owned).to_vec());
        assert_eq!(files, ["eos.jsonl"]);
        let expected = [
            "collection.json",
            "eos.jsonl-20261128.zst",
            "eos.jsonl.1.bak",
            "eos.jsonl.1.zst",
            "eos.jsonl.bak",
            "notes.txt",
        ];
        assert_eq!(others, expected);
    }

    #[test]
    fn a_file_that_is_there_packed_too_is_read_once() {
        let names = ["eos.jsonl.1", "eos.jsonl.1.gz", "eos.jsonl", "eos.jsonl.2.gz"];
        let (files, others) = in_order(names.map(str::to_owned).to_vec());
        assert_eq!(files, ["eos.jsonl.2.gz", "eos.jsonl.1", "eos.jsonl"]);
        assert_eq!(others, ["eos.jsonl.1.gz"]);
    }

    #[test]
    fn names_of_all_kinds_at_once_have_one_order_whatever_order_they_are_found_in() {
        let expected = [
            "a.jsonl.2026-11-28",
            "a.jsonl.9",
            "a.jsonl.1",
            "a.1.jsonl",
            "a.9.jsonl",
            "b.jsonl.2026-11-28",
            "b.9.jsonl",
            "b.jsonl.9",
            "b.1.jsonl",
            "b.jsonl.1",
            "b.jsonl",
        ];
        let mut random: Vec<&str> = expected.to_vec();
        for turn in 0..expected.len() {
            random.rotate_left(1);
            random.swap(0, turn);
            assert_eq!(ordered(&random), expected, "{random:?}");
        }
    }

    #[test]
    fn our_own_files_are_read_packed_or_not_and_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["steps-0000000000000010.jsonl", "steps-0000000000000000.jsonl.gz", "requests-0000000000000000.jsonl"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = LogFiles::of(folder.path()).unwrap();
        let names: Vec<_> = found.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["steps-0000000000000000.jsonl.gz", "steps-0000000000000010.jsonl"]);
        assert_eq!(LogFiles::of(&folder.path().join("none.jsonl")).unwrap(), LogFiles::default());
    }
}
