//! Reads lines of logs, from plain and from gzip files. A line that cannot be read is reported with its place, and the next one is read.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::foreign::Fault;
use crate::packed::{self, Unpacked};

/// Longest line that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A line that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File that has the line.
    pub path: PathBuf,
    /// Line number from 1.
    pub line: u64,
    /// The same for lines with the same fault.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

/// What to do with a log that has broken, impossible or repeated lines, or gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BadLines {
    /// Report the lines and go on without them.
    #[default]
    Skip,
    /// Report the lines and stop.
    Refuse,
}

/// Damaged lines: all counted, in all and by kind; the first of them, and of each kind, kept.
#[derive(Debug, Clone, Default)]
pub struct Damages {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Damage>,
    kinds: BTreeMap<&'static str, (u64, Damage)>,
}

impl Damages {
    const KEPT: usize = 20;

    /// Counts one more.
    pub fn push(&mut self, damage: Damage) {
        self.count += 1;
        self.kinds.entry(damage.kind).or_insert_with(|| (0, damage.clone())).0 += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(damage);
        }
    }

    /// A sentence for each kind, the most frequent first: how many lines, and the first of them.
    pub fn by_kind(&self) -> Vec<String> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let sentence = |(kind, (count, example)): &(&&str, &(u64, Damage))| {
            let lines = if *count == 1 { "line" } else { "lines" };
            if example.reason == **kind {
                format!("{count} {lines}: {kind}, first {}:{}", example.path.display(), example.line)
            } else {
                format!("{count} {lines}: {kind}, first {example}")
            }
        };
        kinds.iter().map(sentence).collect()
    }
}

/// A line of the log and where it stands, or the damage found in its place.
pub type ReadLine<T> = Result<(u64, T), Damage>;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of one file, in order. Holds one line in memory.
pub struct LineReader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    is_packed: bool,
    line: u64,
    buffer: Vec<u8>,
}

impl LineReader {
    /// From the start of the file at `path`; what begins as a gzip file is unpacked.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let Unpacked { input, is_packed } = packed::open(path)?;
        Ok(Self { path: path.to_owned(), input, is_packed, line: 0, buffer: vec![] })
    }

    /// The next line with its number from 1; `None` at the end of the file. Empty lines are passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_line<T: DeserializeOwned>(&mut self) -> io::Result<Option<ReadLine<T>>> {
        self.read_with(parse_json)
    }

    /// The same with what `parse` makes of the line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_with<T>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T, Fault>) -> io::Result<Option<ReadLine<T>>> {
        loop {
            match self.next_line() {
                Ok(None) => return Ok(None),
                Ok(Some(Err(fault))) => return Ok(Some(Err(self.damage_of(fault)))),
                Ok(Some(Ok(()))) => {
                    let line = self.buffer.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.buffer);
                    if !line.trim_ascii().is_empty() {
                        return Ok(Some(
                            parse(line).map(|value| (self.line, value)).map_err(|fault| self.damage_of(fault)),
                        ));
                    }
                }
                // A file that is still being packed, or was cut off: what came before counts.
                Err(error) if self.is_packed => {
                    self.input = Box::new(io::empty());
                    return Ok(Some(Err(self.damage("the gzip file is broken", error.to_string()))));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a line into the buffer; `None` at the end of the file.
    fn next_line(&mut self) -> io::Result<Option<Result<(), Fault>>> {
        self.buffer.clear();
        let read = (&mut self.input).take(LONGEST_LINE + 1).read_until(b'\n', &mut self.buffer);
        if matches!(read, Ok(0)) {
            return Ok(None);
        }
        // A line within which a packed file breaks off is counted, too: the damage is in it.
        self.line += 1;
        let read = read?;
        if read as u64 <= LONGEST_LINE {
            return Ok(Some(Ok(())));
        }
        if self.buffer.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
        }
        Ok(Some(Err(Fault::new("is too long", format!("is longer than {LONGEST_LINE} bytes")))))
    }

    fn damage_of(&self, fault: Fault) -> Damage {
        self.damage(fault.kind, fault.reason)
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The damage of a line that was read last.
    pub fn damage(&self, kind: &'static str, reason: impl Into<String>) -> Damage {
        Damage { path: self.path.clone(), line: self.line, kind, reason: reason.into() }
    }
}

/// Reads a line as JSON of the type that is asked for.
///
/// # Errors
/// When it is something else.
pub fn parse_json<T: DeserializeOwned>(line: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| Fault::new("is not such a line", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign;
    use crate::packed::tests::packed;
    use crate::record::{StepLine, tests::step_line};

    fn opened(text: &[u8]) -> (tempfile::NamedTempFile, LineReader) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let reader = LineReader::open(file.path()).unwrap();
        (file, reader)
    }

    fn read(text: &[u8]) -> Vec<ReadLine<StepLine>> {
        let (_file, mut reader) = opened(text);
        std::iter::from_fn(|| reader.read_line().unwrap()).collect()
    }

    fn three_lines() -> Vec<u8> {
        let line = |step| serde_json::to_vec(&StepLine { step, ..step_line() }).unwrap();
        [line(1), line(2), line(3), vec![]].join(&b'\n')
    }

    fn steps(lines: &[ReadLine<StepLine>]) -> Vec<u32> {
        lines.iter().flatten().map(|(_, line)| line.step).collect()
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

    #[test]
    fn gzip_files_byte_order_marks_and_windows_line_ends_change_nothing() {
        let text = three_lines();
        let windows = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n").into_bytes();
        let marked = [BYTE_ORDER_MARK, &text].concat();
        let members = [packed(&text), packed(&text)].concat();
        for text in [packed(&text), windows, marked.clone(), packed(&marked)] {
            assert_eq!(steps(&read(&text)), [1, 2, 3]);
        }
        assert_eq!(steps(&read(&members)), [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_gzip_file_that_ends_early_is_told_and_its_beginning_read() {
        let many = three_lines().repeat(2_000);
        let whole = packed(&many);
        let lines = read(&whole[..whole.len() / 2]);
        let (last, before) = lines.split_last().unwrap();
        assert!(before.len() > 100 && before.iter().all(Result::is_ok), "{}", before.len());
        let damage = last.as_ref().unwrap_err();
        assert_eq!((damage.kind, damage.line), ("the gzip file is broken", before.len() as u64 + 1));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), packed in 0..2) {
            let magic: &[u8] = if packed == 1 { b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" } else { b"" };
            let (_file, mut reader) = opened(&[magic, &bytes].concat());
            let lines = std::iter::from_fn(|| reader.read_with(foreign::parse).unwrap()).count();
            proptest::prop_assert!(lines <= bytes.len() + 1);
        }
    }

    #[test]
    fn damages_are_told_by_kind_the_most_frequent_first() {
        let (_file, mut reader) = opened(b"{}\n[]\n{\n[1]\n");
        let mut damages = Damages::default();
        while let Some(line) = reader.read_with(foreign::parse).unwrap() {
            damages.push(line.unwrap_err());
        }
        let told = damages.by_kind();
        assert!(told[0].starts_with("2 lines: is not a JSON object, first ") && told[0].ends_with(":2"), "{told:?}");
        assert!(told[1].starts_with("1 line: is not JSON, first ") && told[1].contains(":3: EOF"), "{told:?}");
        assert!(told[2].contains("missing field `request_id`") && told[2].ends_with(":1"), "{told:?}");
    }
}
