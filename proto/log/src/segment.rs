//! [`SegmentWriter`]: appends whole lines to one series, and starts a new file when one is full or old.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::location::{Location, Segment, Series};
use crate::packed;

/// When a file is full or old.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Bytes of a file; one write may exceed it.
    pub bytes: u64,
    /// Time since the file was begun.
    pub age: Duration,
}

/// A file that somebody took away while it was written, and the lines in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenFile {
    pub(crate) path: PathBuf,
    pub(crate) lines: u64,
    pub(crate) how: Taking,
}

/// What somebody did to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    Deleted,
    /// Moved away; there may be another one in its place.
    Moved,
    Truncated,
}

impl Taking {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Moved => "moved away",
            Self::Truncated => "truncated",
        }
    }
}

/// What somebody did to `file`, which was opened at `path`, if anything; `bytes` were in it.
///
/// # Errors
/// When that cannot be found out.
pub(crate) fn taking(file: &File, path: &Path, bytes: u64) -> io::Result<Option<Taking>> {
    let ours = file.metadata()?;
    let is_there = match std::fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => false,
        Err(error) => return Err(error),
    };
    Ok(match (is_there, ours.nlink()) {
        (false, 0) => Some(Taking::Deleted),
        (false, _) => Some(Taking::Moved),
        (true, _) if ours.len() < bytes => Some(Taking::Truncated),
        (true, _) => None,
    })
}

/// The end of one series.
#[derive(Debug)]
pub struct SegmentWriter {
    location: Location,
    series: Series,
    rotation: Rotation,
    file: File,
    path: PathBuf,
    /// Number of the file's first line.
    offset: u64,
    lines: u64,
    /// Length of the file as far as it holds whole lines.
    bytes: u64,
    begun: Instant,
    /// A write failed and may have left part of a line behind `bytes`.
    torn: bool,
    unsynced: bool,
}

impl SegmentWriter {
    /// Continues the newest file of the series, or begins one if there is none or it was packed. What follows the last whole line is
    /// cut off.
    ///
    /// Gives the writer and the number of bytes cut off.
    ///
    /// # Errors
    /// When a file cannot be read, created or cut.
    pub fn open(location: &Location, series: Series, rotation: Rotation) -> io::Result<(Self, u64)> {
        let segments = location.segments(series)?;
        let offset = match segments.as_slice() {
            [.., newest] if matches!(location, Location::Folder(_)) && !newest.is_packed() => newest.offset,
            [.., before, active] if active.offset.is_none() => following(before)?,
            [.., newest] if newest.offset.is_some() => following(newest)?,
            _ => None,
        }
        .unwrap_or(0);
        let path = location.active(series, offset);
        let (file, lines, whole, cut) = continued(&path)?;
        let age = file.metadata()?.created().ok().and_then(|created| SystemTime::now().duration_since(created).ok());
        let begun = age.and_then(|age| Instant::now().checked_sub(age)).unwrap_or_else(Instant::now);
        let location = location.clone();
        let writer = Self {
            location,
            series,
            rotation,
            file,
            path,
            offset,
            lines,
            bytes: whole,
            begun,
            torn: false,
            unsynced: false,
        };
        Ok((writer, cut))
    }

    /// Appends `text`, which is `lines` whole lines; all of it or, on failure, none. Says whether that began a new file.
    ///
    /// # Errors
    /// When the file cannot be written. The next call begins by cutting off what a failed one left.
    pub fn append(&mut self, text: &[u8], lines: u64) -> io::Result<bool> {
        self.repair()?;
        let full = self.bytes + text.len() as u64 > self.rotation.bytes || self.begun.elapsed() > self.rotation.age;
        let rotates = self.bytes > 0 && full;
        if rotates {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(text) {
            self.torn = true;
            // Best now, while little can have happened; if it fails the next append tries again.
            let _ = self.repair();
            return Err(io::Error::new(error.kind(), format!("{}: {error}", self.path.display())));
        }
        self.bytes += text.len() as u64;
        self.lines += lines;
        self.unsynced = true;
        Ok(rotates)
    }

    /// Looks whether the file is still where it was opened, as long as it was. If somebody deleted, moved, replaced or truncated it, the
    /// series goes on in a file at its place, and with the next line's number.
    ///
    /// # Errors
    /// When there is none and none can be begun; the next call tries again.
    pub(crate) fn go_on(&mut self) -> io::Result<Option<TakenFile>> {
        let Some(how) = taking(&self.file, &self.path, self.bytes)? else { return Ok(None) };
        if how == Taking::Moved {
            // The file is somewhere else now: this is the last time that we can sync it.
            self.sync()?;
        }
        let next = self.offset + self.lines;
        let path = self.location.active(self.series, next);
        let (file, lines, bytes, _) = continued(&path)?;
        let taken = TakenFile { path: std::mem::replace(&mut self.path, path), lines: self.lines, how };
        (self.file, self.offset, self.lines, self.bytes) = (file, next, lines, bytes);
        (self.begun, self.torn, self.unsynced) = (Instant::now(), false, false);
        Ok(Some(taken))
    }

    /// Makes what was appended survive a power failure.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// The file being written.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn repair(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let next = self.offset + self.lines;
        if let Location::File(_) = self.location {
            self.move_aside()?;
        }
        let path = self.location.active(self.series, next);
        self.file = OpenOptions::new().append(true).create(true).open(&path)?;
        (self.path, self.offset, self.lines, self.bytes, self.begun) = (path, next, 0, 0, Instant::now());
        Ok(())
    }

    /// Gives the full file its name. If no next file can be begun, the writer goes on with it there, and the next attempt renames it
    /// to the name it has.
    fn move_aside(&mut self) -> io::Result<()> {
        let rotated = self.location.rotated(self.series, self.offset);
        match std::fs::rename(&self.path, &rotated) {
            // Taken away by someone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => {
                renamed?;
                self.path = rotated;
            }
        }
        Ok(())
    }
}

/// Opens the file at `path` to append to it; begins one if there is none. Gives its whole lines, their bytes, and the number of bytes
/// behind them that were cut off.
fn continued(path: &Path) -> io::Result<(File, u64, u64, u64)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(named)?;
    let (lines, whole) = packed::whole_lines(&mut file)?;
    let cut = file.metadata()?.len() - whole;
    if cut > 0 {
        file.set_len(whole)?;
    }
    Ok((file, lines, whole, cut))
}

/// Number of the line after the last one of a full file.
fn following(segment: &Segment) -> io::Result<Option<u64>> {
    let lines = packed::count_lines(&segment.path)?;
    Ok(segment.offset.map(|offset| offset + lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Rotation = Rotation { bytes: u64::MAX, age: Duration::MAX };

    fn names(location: &Location) -> Vec<String> {
        let name = |s: &Segment| s.path.file_name().unwrap().to_string_lossy().into_owned();
        location.segments(Series::Steps).unwrap().iter().map(name).collect()
    }

    #[test]
    fn full_files_are_named_by_their_first_line_and_numbering_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { bytes: 8, ..NEVER };
        for (location, expected) in [
            (
                Location::Folder(folder.path().join("d")),
                ["steps-0000000000000000.jsonl", "steps-0000000000000002.jsonl", "steps-0000000000000004.jsonl"],
            ),
            (
                Location::File(folder.path().join("x.log")),
                ["x-0000000000000000.jsonl", "x-0000000000000002.jsonl", "x.log"],
            ),
        ] {
            std::fs::create_dir_all(location.folder()).unwrap();
            for _ in 0..5 {
                let (mut writer, cut) = SegmentWriter::open(&location, Series::Steps, rotation).unwrap();
                assert_eq!(cut, 0);
                writer.append(b"{1}\n", 1).unwrap();
            }
            assert_eq!(names(&location), expected);
        }
    }

    #[test]
    fn an_old_file_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Folder(folder.path().to_owned());
        let rotation = Rotation { age: Duration::ZERO, ..NEVER };
        let (mut writer, _) = SegmentWriter::open(&location, Series::Steps, rotation).unwrap();
        writer.append(b"{}\n", 1).unwrap();
        writer.append(b"{}\n", 1).unwrap();
        assert_eq!(names(&location).len(), 2);
    }

    #[test]
    fn a_file_that_was_moved_aside_before_the_next_one_could_be_begun_is_still_ours() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("x.log"));
        let (mut writer, _) = SegmentWriter::open(&location, Series::Steps, Rotation { bytes: 8, ..NEVER }).unwrap();
        writer.append(b"{11111}\n", 1).unwrap();
        writer.move_aside().unwrap();
        assert_eq!(writer.go_on().unwrap(), None);
        writer.append(b"{2}\n", 1).unwrap();
        assert_eq!(names(&location), ["x-0000000000000000.jsonl", "x.log"]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Folder(folder.path().to_owned());
        let file = folder.path().join("steps-0000000000000000.jsonl");
        std::fs::write(&file, "{\"a\":1}\n{\"b\":").unwrap();
        let (mut writer, cut) = SegmentWriter::open(&location, Series::Steps, NEVER).unwrap();
        assert_eq!(cut, 5);
        writer.append(b"{\"c\":1}\n", 1).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"a\":1}\n{\"c\":1}\n");
    }

    #[test]
    fn numbering_goes_on_after_the_lines_of_files_that_were_packed() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { bytes: 8, ..NEVER };
        for (location, expected) in [
            (
                Location::Folder(folder.path().join("d")),
                ["steps-0000000000000000.jsonl.gz", "steps-0000000000000002.jsonl.gz", "steps-0000000000000003.jsonl"],
            ),
            (
                Location::File(folder.path().join("x.log")),
                ["x-0000000000000000.jsonl.gz", "x-0000000000000002.jsonl", "x.log"],
            ),
        ] {
            std::fs::create_dir_all(location.folder()).unwrap();
            let (mut writer, _) = SegmentWriter::open(&location, Series::Steps, rotation).unwrap();
            (0..3).for_each(|_| {
                writer.append(b"{1}\n", 1).unwrap();
            });
            // All that is full; beside a folder of a writer that has ended, the last file, too.
            location
                .segments(Series::Steps)
                .unwrap()
                .iter()
                .filter(|s| s.offset.is_some())
                .for_each(|s| packed::pack_for_test(&s.path).unwrap());
            let (mut writer, _) = SegmentWriter::open(&location, Series::Steps, rotation).unwrap();
            (0..2).for_each(|_| {
                writer.append(b"{2}\n", 1).unwrap();
            });
            assert_eq!(names(&location), expected);
        }
    }
}
