//! [`EventLog`]: appends to all three series; keeps the log within its size.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::location::{Location, Series};
use crate::record::Lines;
use crate::segment::{Rotation, SegmentWriter};

/// How often appended lines are synced to disk under [`Fsync::Interval`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Most lines of one write. The thread yields after each write: otherwise the thread that answers could wait for milliseconds behind
/// a backlog of lines.
const LINES_A_WRITE: usize = 32;

/// When appended lines are made to survive a power failure. They survive a killed process in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fsync {
    /// When the operating system gets to it.
    Never,
    /// Once a second.
    Interval,
    /// Before they are acknowledged.
    Batch,
}

/// Where and how the log is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Where.
    pub location: Location,
    /// When a file is full or old.
    pub rotation: Rotation,
    /// When lines are synced to disk.
    pub fsync: Fsync,
    /// Bytes kept; the oldest full files go first, step lines before others. 0 keeps all.
    pub retention_bytes: u64,
}

/// The open log. One process writes a log at a time.
pub struct EventLog {
    config: LogConfig,
    starts: SegmentWriter,
    requests: SegmentWriter,
    steps: SegmentWriter,
    synced: Instant,
    text: Vec<u8>,
    /// Locked for as long as the log is open.
    _lock: File,
}

impl EventLog {
    /// Opens the log, creating what is missing and cutting off torn last lines.
    ///
    /// # Errors
    /// When a file or folder cannot be written, or another process has the log open.
    pub fn open(config: &LogConfig) -> anyhow::Result<Self> {
        Self::try_open(config).with_context(|| {
            format!("event log {} cannot be written; choose another path", config.location.path().display())
        })
    }

    fn try_open(config: &LogConfig) -> anyhow::Result<Self> {
        let location = &config.location;
        std::fs::create_dir_all(location.folder())?;
        let lock = File::create(location.lock_file())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process is writing to it"),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let open = |series| -> io::Result<SegmentWriter> {
            let (writer, cut) = SegmentWriter::open(location, series, config.rotation)?;
            if cut > 0 {
                tracing::warn!(file = %writer.path().display(), bytes = cut, "cut off a torn last line");
            }
            Ok(writer)
        };
        Ok(Self {
            starts: open(Series::Starts)?,
            requests: open(Series::Requests)?,
            steps: open(Series::Steps)?,
            config: config.clone(),
            synced: Instant::now(),
            text: vec![],
            _lock: lock,
        })
    }

    /// Appends the lines of several messages: arrivals, then outcomes, then steps, so that whatever a step line speaks of is
    /// in the log before it. Gives the bytes written.
    ///
    /// # Errors
    /// When the disk refuses; whole lines may then have been written, never a part of one.
    pub fn append(&mut self, messages: &[Lines]) -> io::Result<u64> {
        let (starts, requests, steps) = (
            append_all(&mut self.starts, &mut self.text, messages.iter().flat_map(|lines| &lines.starts))?,
            append_all(&mut self.requests, &mut self.text, messages.iter().flat_map(|lines| &lines.requests))?,
            append_all(&mut self.steps, &mut self.text, messages.iter().flat_map(|lines| &lines.steps))?,
        );
        if starts.began_a_file || requests.began_a_file || steps.began_a_file {
            self.enforce_retention()?;
        }
        match self.config.fsync {
            Fsync::Batch => self.sync()?,
            Fsync::Interval => self.sync_if_due()?,
            Fsync::Never => {}
        }
        Ok(starts.bytes + requests.bytes + steps.bytes)
    }

    /// Syncs under [`Fsync::Interval`] when the interval has passed; to be called about that often.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_if_due(&mut self) -> io::Result<()> {
        if self.config.fsync == Fsync::Interval && self.synced.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything appended survive a power failure.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> io::Result<()> {
        self.synced = Instant::now();
        self.starts.sync()?;
        self.requests.sync()?;
        self.steps.sync()
    }

    /// The file that step lines go to.
    pub fn step_file(&self) -> &std::path::Path {
        self.steps.path()
    }

    fn enforce_retention(&self) -> io::Result<()> {
        if self.config.retention_bytes == 0 {
            return Ok(());
        }
        let location = &self.config.location;
        let all = [Series::Steps, Series::Starts, Series::Requests];
        let mut full = vec![];
        let mut total = 0;
        for segments in all.into_iter().map(|series| location.segments(series)) {
            let mut segments = segments?;
            for segment in &segments {
                total += std::fs::metadata(&segment.path)?.len();
            }
            // The file being written; and beside a log file the newest full one, which alone knows how lines are numbered.
            segments.pop();
            if matches!(location, Location::File(_)) {
                segments.pop();
            }
            full.extend(segments);
        }
        for segment in full {
            if total <= self.config.retention_bytes {
                break;
            }
            total -= std::fs::metadata(&segment.path)?.len();
            std::fs::remove_file(&segment.path)?;
            tracing::info!(file = %segment.path.display(), "removed, the log is larger than --retention-bytes");
        }
        Ok(())
    }
}

#[derive(Default)]
struct Appended {
    bytes: u64,
    began_a_file: bool,
}

/// Appends `lines`, [`LINES_A_WRITE`] in one write; `text` is a buffer to use.
fn append_all<'a, T: Serialize + 'a>(
    writer: &mut SegmentWriter,
    text: &mut Vec<u8>,
    lines: impl Iterator<Item = &'a T>,
) -> io::Result<Appended> {
    let mut appended = Appended::default();
    let mut lines = lines.peekable();
    while lines.peek().is_some() {
        text.clear();
        let mut count = 0;
        for line in lines.by_ref().take(LINES_A_WRITE) {
            serde_json::to_writer(&mut *text, line)?;
            text.push(b'\n');
            count += 1;
        }
        appended.began_a_file |= writer.append(text, count)?;
        appended.bytes += text.len() as u64;
        std::thread::yield_now();
    }
    Ok(appended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StepLine;
    use crate::record::tests::step_line;

    fn config(folder: &std::path::Path) -> LogConfig {
        LogConfig {
            location: Location::parse(folder),
            rotation: Rotation { bytes: 2_000, age: Duration::from_secs(3600) },
            fsync: Fsync::Batch,
            retention_bytes: 10_000,
        }
    }

    #[test]
    fn the_oldest_files_go_when_the_log_is_larger_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::open(&config(folder.path())).unwrap();
        for _ in 0..100 {
            log.append(&[Lines { steps: vec![step_line()], ..Lines::default() }]).unwrap();
        }
        let segments = Location::parse(folder.path()).segments(Series::Steps).unwrap();
        let bytes: u64 = segments.iter().map(|s| std::fs::metadata(&s.path).unwrap().len()).sum();
        assert!(bytes <= 10_000 && bytes > 5_000, "{bytes}");
        assert!(segments[0].offset > Some(80));
    }

    #[test]
    fn many_lines_of_one_message_are_all_there_in_order_though_files_fill_up_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::open(&LogConfig { retention_bytes: 0, ..config(folder.path()) }).unwrap();
        let steps: Vec<_> = (1..=4 * LINES_A_WRITE as u32 + 1).map(|step| StepLine { step, ..step_line() }).collect();
        let written = log.append(&[Lines { steps: steps.clone(), ..Lines::default() }]).unwrap();
        let segments = Location::parse(folder.path()).segments(Series::Steps).unwrap();
        let offsets: Vec<_> = segments.iter().map(|segment| segment.offset.unwrap()).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4].map(|file| file * LINES_A_WRITE as u64));
        let text: String = segments.iter().map(|s| std::fs::read_to_string(&s.path).unwrap()).collect();
        let read: Vec<StepLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((read, text.len() as u64), (steps, written));
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::open(&config(folder.path())).unwrap();
        let error = format!("{:#}", EventLog::open(&config(folder.path())).err().unwrap());
        assert!(error.contains("another process is writing to it") && error.contains("choose another path"), "{error}");
        drop(log);
        assert!(EventLog::open(&config(folder.path())).is_ok());
    }
}
