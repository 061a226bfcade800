//! The folder that a collection is written to, and how one that was interrupted is continued.
//!
//! The lines of a request are appended at once, when it has finished: arrival, outcome, steps. So the three series tell of the
//! same requests in the same order, and a process that was killed in between leaves them of different length at most. What is
//! whole is a beginning of each; the rest is cut off, and those requests run again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use eoscast_log::location::{Location, Segment, Series};
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StartLine};
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use eoscast_proto::domain::{RequestId, StepBatch};
use serde::de::DeserializeOwned;

use super::recorder::{Outcomes, Recorder};

/// Bytes of one file.
const SEGMENT_BYTES: u64 = 256 << 20;

/// What all requests of a folder have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Name of the model.
    pub model: String,
    /// Of the sampler.
    pub temperature: f32,
    /// Most tokens of a reply.
    pub max_tokens: u32,
}

/// A folder open for writing.
pub struct Folder {
    log: EventLog,
    recorder: Recorder,
    done: HashSet<RequestId>,
}

impl Folder {
    /// Requests whose lines it held when it was opened.
    pub fn done(&self) -> &HashSet<RequestId> {
        &self.done
    }

    /// Takes in what the engine tells; appends the lines of the requests that finish with it, and gives their outcomes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn take_in(&mut self, batch: StepBatch) -> io::Result<Vec<RequestLine>> {
        let lines = [self.recorder.take_in(batch)];
        self.log.append(&lines)?;
        let [lines] = lines;
        Ok(lines.requests)
    }

    /// Makes everything appended survive a power failure.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> io::Result<()> {
        self.log.sync()
    }
}

/// Opens the folder `path`: a new or empty one, or, if `resumed` says on which terms, one that holds such requests.
///
/// # Errors
/// The folder cannot be read or written, holds lines and is not to be continued, or holds others than a collection's.
pub fn open(path: &Path, resumed: Option<&Terms>) -> anyhow::Result<Folder> {
    let location = Location::Folder(path.to_owned());
    if resumed.is_none() && holds_lines(&location)? {
        bail!("--out {}: holds a log; continue a collection with --resume, or choose another folder", path.display());
    }
    let config = LogConfig {
        location: location.clone(),
        rotation: Rotation { bytes: SEGMENT_BYTES, age: Duration::MAX },
        fsync: Fsync::Interval,
        retention_bytes: 0,
    };
    let open = || EventLog::open(&config).with_context(|| format!("--out {}", path.display()));
    // Makes sure that nobody else writes there, and cuts off torn last lines.
    drop(open()?);
    let whole = match resumed {
        Some(terms) => cut_to_whole_requests(&location, terms).with_context(|| format!("--out {}", path.display()))?,
        None => Vec::new(),
    };
    let outcomes = whole
        .last()
        .map_or_else(Outcomes::default, |last| Outcomes { all: last.outcome_number, censored: last.censored_outcomes });
    let done = whole.into_iter().map(|line| line.request_id).collect();
    Ok(Folder { log: open()?, recorder: Recorder::after(outcomes), done })
}

fn holds_lines(location: &Location) -> anyhow::Result<bool> {
    for series in [Series::Starts, Series::Requests, Series::Steps] {
        for segment in location.segments(series)? {
            if std::fs::metadata(&segment.path)?.len() > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Cuts off the lines of requests that are there in part; gives the outcomes of the others, in order.
fn cut_to_whole_requests(location: &Location, terms: &Terms) -> anyhow::Result<Vec<RequestLine>> {
    let starts: Vec<StartLine> = read(location, Series::Starts)?;
    let mut requests: Vec<RequestLine> = read(location, Series::Requests)?;
    check(&starts, &requests, terms)?;
    let step_lines = count_lines(location, Series::Steps)?;
    let mut steps = 0;
    let whole = requests.iter().zip(&starts).take_while(|(request, _)| {
        let with_it = steps + u64::from(request.steps_observed);
        let is_whole = with_it <= step_lines;
        steps = if is_whole { with_it } else { steps };
        is_whole
    });
    let whole = whole.count();
    requests.truncate(whole);
    cut(location, Series::Starts, whole as u64)?;
    cut(location, Series::Requests, whole as u64)?;
    cut(location, Series::Steps, steps)?;
    Ok(requests)
}

fn check(starts: &[StartLine], requests: &[RequestLine], terms: &Terms) -> anyhow::Result<()> {
    let strangers = starts.iter().zip(requests).find(|(start, request)| start.request_id != request.request_id);
    ensure!(
        strangers.is_none() && starts.len() >= requests.len(),
        "the log there was not written by collect; choose another folder"
    );
    let differing = requests.iter().map(|line| Terms {
        model: line.model.as_ref().to_owned(),
        temperature: line.temperature,
        max_tokens: line.max_tokens,
    });
    if let Some(theirs) = differing.into_iter().find(|theirs| theirs != terms) {
        bail!("the requests there were run with {theirs}, not {terms}; choose another folder");
    }
    Ok(())
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, temperature, max_tokens } = self;
        write!(f, "model {model}, --temperature {temperature} and --max-tokens {max_tokens}")
    }
}

fn read<T: DeserializeOwned>(location: &Location, series: Series) -> anyhow::Result<Vec<T>> {
    let mut lines = Vec::new();
    for segment in location.segments(series)? {
        let mut reader = LineReader::open(&segment.path)?;
        while let Some(line) = reader.read_line()? {
            let (_, line) =
                line.map_err(|damage| anyhow::anyhow!("{damage}; repair the line or choose another folder"))?;
            lines.push(line);
        }
    }
    Ok(lines)
}

fn count_lines(location: &Location, series: Series) -> anyhow::Result<u64> {
    let mut lines = 0;
    for segment in location.segments(series)? {
        let mut file = BufReader::new(File::open(&segment.path)?);
        while file.skip_until(b'\n')? > 0 {
            lines += 1;
        }
    }
    Ok(lines)
}

/// Leaves the first `lines` of a series.
fn cut(location: &Location, series: Series, lines: u64) -> anyhow::Result<()> {
    for Segment { path, offset } in location.segments(series)? {
        let rest = lines.saturating_sub(offset.unwrap_or(0));
        if rest == 0 {
            std::fs::remove_file(&path)?;
            continue;
        }
        let mut file = BufReader::new(File::open(&path)?);
        let mut bytes = 0;
        for _ in 0..rest {
            bytes += file.skip_until(b'\n')? as u64;
        }
        OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
    }
    Ok(())
}
