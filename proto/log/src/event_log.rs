//! [`EventLog`]: appends to all three series; keeps the log within its size.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::location::{Location, Series};
use crate::record::{GapLine, LineCounts, Lines};
use crate::segment::{Rotation, SegmentWriter, TakenFile, Taking, taking};

/// How often appended lines are synced to disk under [`Fsync::Interval`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Most lines of one write. The thread yields after each write: otherwise the thread that answers could wait for milliseconds behind
/// a backlog of lines.
const LINES_A_WRITE: usize = 32;
/// An append of more lines is behind: then it does not yield, which costs milliseconds each time where all cores are busy.
const MANY_LINES: usize = 16_384;

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
    /// Lines of the last append that are in the log.
    written: LineCounts,
    /// Lines of files that were deleted under our hands, since they were last asked for.
    deleted: LineCounts,
    /// When the files were looked at last, seconds since 1970.
    looked_at: f64,
    /// What was found missing and is not marked yet.
    gap: Option<GapLine>,
    /// Locked for as long as the log is open.
    lock: File,
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
        let lock = locked(location)?;
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
            written: LineCounts::default(),
            deleted: LineCounts::default(),
            looked_at: now(),
            gap: None,
            lock,
        })
    }

    /// Appends the lines of several messages: arrivals, then outcomes, then steps, so that whatever a step line speaks of is
    /// in the log before it. Gives the bytes written.
    ///
    /// # Errors
    /// When the disk refuses; whole lines may then have been written, never a part of one: [`written`](Self::written).
    pub fn append(&mut self, messages: &[Lines]) -> io::Result<u64> {
        self.written = LineCounts::default();
        self.look()?;
        let Self { starts, requests, steps, text, written, .. } = self;
        let yields = messages.iter().map(|lines| lines.steps.len()).sum::<usize>() <= MANY_LINES;
        let mut appended = Appended { yields, ..Appended::default() };
        appended.all(starts, text, messages.iter().flat_map(|lines| &lines.starts), &mut written.starts)?;
        appended.all(requests, text, messages.iter().flat_map(|lines| &lines.requests), &mut written.requests)?;
        appended.all(steps, text, messages.iter().flat_map(|lines| &lines.steps), &mut written.steps)?;
        if appended.began_a_file {
            self.enforce_retention()?;
        }
        match self.config.fsync {
            Fsync::Batch => self.sync()?,
            Fsync::Interval => self.sync_if_due()?,
            Fsync::Never => {}
        }
        Ok(appended.bytes)
    }

    /// Lines of the last append that are in the log: of each series the first of them.
    pub fn written(&self) -> LineCounts {
        self.written
    }

    /// Lines that were lost with files that somebody deleted while they were written, since this was asked last.
    pub fn take_deleted(&mut self) -> LineCounts {
        std::mem::take(&mut self.deleted)
    }

    /// Looks after the files: where somebody deleted, moved, replaced or truncated one, or the folder, the log goes on in a new one, and
    /// the gap is marked. To be called when nothing is appended for a while.
    ///
    /// # Errors
    /// When the log cannot go on; the next call tries again.
    pub fn look(&mut self) -> io::Result<()> {
        let location = &self.config.location;
        if taking(&self.lock, &location.lock_file(), 0)?.is_some() {
            self.lock = locked(location).map_err(|error| io::Error::other(format!("{error:#}")))?;
        }
        let of = |lines, series: Series| match series {
            Series::Starts => LineCounts { starts: lines, ..LineCounts::default() },
            Series::Requests => LineCounts { requests: lines, ..LineCounts::default() },
            Series::Steps => LineCounts { steps: lines, ..LineCounts::default() },
        };
        let series = [
            (&mut self.starts, Series::Starts),
            (&mut self.requests, Series::Requests),
            (&mut self.steps, Series::Steps),
        ];
        for (writer, series) in series {
            let Some(TakenFile { path, lines, how }) = writer.go_on()? else { continue };
            tracing::warn!(
                file = %path.display(),
                lines,
                goes_on = %writer.path().display(),
                "a file of the event log was {} while it was written",
                how.as_str()
            );
            if how == Taking::Deleted {
                self.deleted += of(lines, series);
            }
            let gap = self.gap.get_or_insert_with(|| GapLine {
                timestamp: now(),
                since: self.looked_at,
                reason: format!("files were {}", how.as_str()),
                missing: LineCounts::default(),
            });
            gap.missing += of(lines, series);
        }
        self.looked_at = now();
        if let Some(gap) = &mut self.gap {
            gap.timestamp = self.looked_at;
            gap.append(&self.config.location)?;
            self.gap = None;
        }
        Ok(())
    }

    /// Marks a gap beside the log.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn mark(&self, gap: &GapLine) -> io::Result<()> {
        gap.append(&self.config.location)
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
        // The file being written stays; and beside a log file the newest full one, which alone knows how lines are numbered.
        let stay = if matches!(location, Location::File(_)) { 2 } else { 1 };
        let mut full = vec![];
        let mut total = 0;
        for series in [Series::Steps, Series::Starts, Series::Requests] {
            let files = location.files(series)?;
            let mut offsets: Vec<_> = files.iter().map(|file| file.offset).collect();
            offsets.dedup();
            let staying = offsets.split_off(offsets.len().saturating_sub(stay));
            for file in files {
                let Some(bytes) = if_there(std::fs::metadata(&file.path))?.map(|metadata| metadata.len()) else {
                    continue;
                };
                total += bytes;
                if !staying.contains(&file.offset) {
                    full.push((file.path, bytes));
                }
            }
        }
        for (path, bytes) in full {
            if total <= self.config.retention_bytes {
                break;
            }
            total -= bytes;
            if if_there(std::fs::remove_file(&path))?.is_some() {
                tracing::info!(file = %path.display(), "removed, the log is larger than --retention-bytes");
            }
        }
        Ok(())
    }
}

/// `None` where the file is gone: somebody packed it, or moved it away.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The lock of the log at `location`, whose folder is made if it is missing.
fn locked(location: &Location) -> anyhow::Result<File> {
    std::fs::create_dir_all(location.folder())?;
    let lock = File::create(location.lock_file())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("another process is writing to it"),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[derive(Default)]
struct Appended {
    yields: bool,
    bytes: u64,
    began_a_file: bool,
}

impl Appended {
    /// Appends `lines`, [`LINES_A_WRITE`] in one write, and counts them; `text` is a buffer to use.
    fn all<'a, T: Serialize + 'a>(
        &mut self,
        writer: &mut SegmentWriter,
        text: &mut Vec<u8>,
        lines: impl Iterator<Item = &'a T>,
        written: &mut u64,
    ) -> io::Result<()> {
        let mut lines = lines.peekable();
        while lines.peek().is_some() {
            text.clear();
            let mut count = 0;
            for line in lines.by_ref().take(LINES_A_WRITE) {
                serde_json::to_writer(&mut *text, line)?;
                text.push(b'\n');
                count += 1;
            }
            self.began_a_file |= writer.append(text, count)?;
            self.bytes += text.len() as u64;
            *written += count;
            self.yields.then(std::thread::yield_now);
        }
        Ok(())
    }
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
    fn packed_files_count_and_go_too() {
        let folder = tempfile::tempdir().unwrap();
        // Both of a file that is there packed and not packed.
        for name in
            ["steps-0000000000000000.jsonl", "steps-0000000000000000.jsonl.gz", "steps-0000000000000001.jsonl.gz"]
        {
            std::fs::write(folder.path().join(name), [b'x'; 4_000]).unwrap();
        }
        std::fs::write(folder.path().join("steps-0000000000000002.jsonl"), "").unwrap();
        let mut log = EventLog::open(&config(folder.path())).unwrap();
        for _ in 0..6 {
            log.append(&[Lines { steps: vec![step_line()], ..Lines::default() }]).unwrap();
        }
        let location = Location::parse(folder.path());
        let files = location.files(Series::Steps).unwrap();
        let bytes: u64 = files.iter().map(|file| std::fs::metadata(&file.path).unwrap().len()).sum();
        assert!(bytes <= 10_000 && files[0].offset != Some(0), "{files:?}");
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

    fn one_step(step: u32) -> Lines {
        Lines { steps: vec![StepLine { step, ..step_line() }], ..Lines::default() }
    }

    /// The steps that lie in the files of the log.
    fn steps(location: &Location) -> Vec<u32> {
        let segments = location.segments(Series::Steps).unwrap();
        let text: String = segments.iter().map(|s| std::fs::read_to_string(&s.path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str::<StepLine>(line).unwrap().step).collect()
    }

    fn active(location: &Location) -> std::path::PathBuf {
        location.segments(Series::Steps).unwrap().pop().unwrap().path
    }

    /// Writes a line, lets `meddle` do something to the files, and writes another one.
    fn meddled(name: &str, meddle: impl Fn(&Location)) -> (tempfile::TempDir, Location, LineCounts) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(&folder.path().join(name));
        let rotation = Rotation { bytes: u64::MAX, age: Duration::MAX };
        let settings = LogConfig { location: location.clone(), rotation, fsync: Fsync::Never, retention_bytes: 0 };
        let mut log = EventLog::open(&settings).unwrap();
        log.append(&[one_step(1)]).unwrap();
        meddle(&location);
        log.look().unwrap();
        log.append(&[one_step(2)]).unwrap();
        let deleted = log.take_deleted();
        drop(log);
        // It can be opened again, and goes on.
        EventLog::open(&settings).unwrap().append(&[one_step(3)]).unwrap();
        (folder, location, deleted)
    }

    #[test]
    fn a_deleted_file_or_folder_is_begun_anew_and_what_was_in_it_counted() {
        let one = LineCounts { steps: 1, ..LineCounts::default() };
        for name in ["log", "x.jsonl"] {
            let (_folder, location, deleted) =
                meddled(name, |location| std::fs::remove_file(active(location)).unwrap());
            assert_eq!((steps(&location), deleted), (vec![2, 3], one), "{name}");
            let gaps = GapLine::all(&location).unwrap();
            assert_eq!((gaps.len(), gaps[0].missing), (1, one));
            assert!(gaps[0].reason.contains("deleted") && gaps[0].since <= gaps[0].timestamp, "{gaps:?}");
        }
        let (_folder, location, deleted) =
            meddled("log", |location| std::fs::remove_dir_all(location.folder()).unwrap());
        assert_eq!((steps(&location), deleted), (vec![2, 3], one));
    }

    #[test]
    fn a_file_that_is_rotated_by_others_is_left_to_them() {
        // logrotate with `create`, and without.
        for create in [true, false] {
            let (folder, location, deleted) = meddled("x.jsonl", |location| {
                std::fs::rename(location.path(), location.folder().join("x.jsonl.1")).unwrap();
                if create {
                    std::fs::write(location.path(), "").unwrap();
                }
            });
            assert_eq!((steps(&location), deleted), (vec![2, 3], LineCounts::default()));
            assert_eq!(std::fs::read_to_string(folder.path().join("x.jsonl.1")).unwrap().lines().count(), 1);
        }
        // With `copytruncate`.
        for name in ["log", "x.jsonl"] {
            let (_folder, location, _) = meddled(name, |location| {
                std::fs::File::options().write(true).open(active(location)).unwrap().set_len(0).unwrap();
            });
            assert_eq!(steps(&location), [2, 3], "{name}");
            assert!(GapLine::all(&location).unwrap()[0].reason.contains("truncated"));
        }
    }

    #[test]
    fn a_gap_is_marked_once_the_log_can_go_on_though_that_fails_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(folder.path());
        let mut log = EventLog::open(&LogConfig { retention_bytes: 0, ..config(folder.path()) }).unwrap();
        log.append(&[one_step(1)]).unwrap();
        let in_the_way = |path: &std::path::Path, log: &mut EventLog| {
            std::fs::create_dir(path).unwrap();
            assert!(log.look().is_err());
            std::fs::remove_dir(path).unwrap();
        };
        // The steps' next file can be begun, and the gap cannot be marked.
        std::fs::remove_file(active(&location)).unwrap();
        in_the_way(&location.gaps(), &mut log);
        // The files of arrivals are gone, too; and those of outcomes, whose next one cannot be begun.
        let next = location.active(Series::Requests, 0);
        std::fs::remove_file(location.active(Series::Starts, 0)).unwrap();
        std::fs::remove_file(&next).unwrap();
        in_the_way(&next, &mut log);
        log.look().unwrap();
        let gaps = GapLine::all(&location).unwrap();
        assert_eq!((gaps.len(), gaps[0].missing.steps), (1, 1), "{gaps:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = EventLog::open(&config(&path)).unwrap();
        log.append(&[one_step(1)]).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, "a file").unwrap();
        assert!(log.look().is_err() && log.append(&[one_step(2)]).is_err());
        assert_eq!(log.written(), LineCounts::default());
        std::fs::remove_file(&path).unwrap();
        log.append(&[one_step(3)]).unwrap();
        assert_eq!(steps(&Location::parse(&path)), [3]);
    }
}
