//! [`SegmentWriter`]: appends whole lines to one series, and starts a new file when one is full or old.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::location::{Location, Series};

/// When a file is full or old.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Bytes of a file; one write may exceed it.
    pub bytes: u64,
    /// Time since the file was begun.
    pub age: Duration,
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
    /// Continues the newest file of the series, or begins the first. What follows the last whole line is cut off.
    ///
    /// Gives the writer and the number of bytes cut off.
    ///
    /// # Errors
    /// When a file cannot be read, created or cut.
    pub fn open(location: &Location, series: Series, rotation: Rotation) -> io::Result<(Self, u64)> {
        let segments = location.segments(series)?;
        let offset = match segments.as_slice() {
            [.., newest] if newest.offset.is_some() && matches!(location, Location::Folder(_)) => newest.offset,
            [.., before, active] if active.offset.is_none() => following(before)?,
            [.., newest] if newest.offset.is_some() => following(newest)?,
            _ => None,
        }
        .unwrap_or(0);
        let path = location.active(series, offset);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let (lines, whole) = whole_lines(&mut file)?;
        let cut = file.metadata()?.len() - whole;
        if cut > 0 {
            file.set_len(whole)?;
        }
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
            match std::fs::rename(&self.path, self.location.rotated(self.series, self.offset)) {
                // Renamed by an attempt that then failed to begin the next file, or taken away by someone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        let path = self.location.active(self.series, next);
        self.file = OpenOptions::new().append(true).create(true).open(&path)?;
        (self.path, self.offset, self.lines, self.bytes, self.begun) = (path, next, 0, 0, Instant::now());
        Ok(())
    }
}

/// Number of the line after the last one of a rotated file.
fn following(segment: &super::location::Segment) -> io::Result<Option<u64>> {
    let (lines, _) = whole_lines(&mut File::open(&segment.path)?)?;
    Ok(segment.offset.map(|offset| offset + lines))
}

/// Lines that end in a line feed, and the bytes they take.
fn whole_lines(file: &mut File) -> io::Result<(u64, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let (mut lines, mut whole, mut position) = (0, 0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((lines, whole));
        }
        for (i, _) in buffer[..read].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            lines += 1;
            whole = position + i as u64 + 1;
        }
        position += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Rotation = Rotation { bytes: u64::MAX, age: Duration::MAX };

    fn names(location: &Location) -> Vec<String> {
        let name = |s: &super::super::location::Segment| s.path.file_name().unwrap().to_string_lossy().into_owned();
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
}
