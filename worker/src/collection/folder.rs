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
use eoscast_log::location::{Location, Series};
use eoscast_log::packed::count_lines;
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StartLine};
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use eoscast_proto::domain::{RequestId, StepBatch};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::recorder::{OutcomeCounts, Recorder};

/// Bytes of one file.
const SEGMENT_BYTES: u64 = 256 << 20;

/// File of the folder that tells its [`Terms`].
const CARD: &str = "collection.json";

/// What all requests of a folder have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Name of the model.
    pub model: String,
    /// Of the sampler.
    pub temperature: f32,
    /// Of the sampler.
    pub top_p: f32,
    /// Most tokens of a reply.
    pub max_tokens: u32,
    /// Of everything random.
    pub seed: u64,
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

/// Opens the folder `path`, which is new or empty.
///
/// # Errors
/// The folder cannot be read or written, or holds lines.
pub fn open(path: &Path) -> anyhow::Result<Folder> {
    let location = Location::Folder(path.to_owned());
    if holds_lines(&location)? {
        bail!("--out {}: holds a log; continue a collection with --resume, or choose another folder", path.display());
    }
    with_lines(&location, Vec::new())
}

/// Opens the folder `path` for a collection on these terms: a new or empty one, or, if it is `resumed`, one that holds such
/// requests.
///
/// # Errors
/// The folder cannot be read or written, holds lines and is not to be continued, or holds others than such a collection's.
pub fn open_collection(path: &Path, terms: &Terms, resumed: bool) -> anyhow::Result<Folder> {
    let folder = if resumed {
        let location = Location::Folder(path.to_owned());
        // Makes sure that nobody else writes there, and cuts off torn last lines.
        drop(with_lines(&location, Vec::new())?);
        let whole = cut_to_whole_requests(&location, terms);
        with_lines(&location, whole.with_context(|| format!("--out {}", path.display()))?)?
    } else {
        open(path)?
    };
    let card = path.join(CARD);
    std::fs::write(&card, serde_json::to_vec_pretty(terms)?).with_context(|| card.display().to_string())?;
    Ok(folder)
}

/// Opens a folder that holds these whole requests.
fn with_lines(location: &Location, whole: Vec<RequestLine>) -> anyhow::Result<Folder> {
    let log = EventLog::open(&LogConfig {
        location: location.clone(),
        rotation: Rotation { bytes: SEGMENT_BYTES, age: Duration::MAX },
        fsync: Fsync::Interval,
        retention_bytes: 0,
    })
    .with_context(|| format!("--out {}", location.path().display()))?;
    let outcomes = whole.last().map_or_else(OutcomeCounts::default, |last| OutcomeCounts {
        all: last.outcome_number,
        censored: last.censored_outcomes,
    });
    let done = whole.into_iter().map(|line| line.request_id).collect();
    Ok(Folder { log, recorder: Recorder::after(outcomes), done })
}

/// What the folder says of itself; nothing if it is empty, or from before there were cards.
fn card(location: &Location) -> anyhow::Result<Option<Terms>> {
    let path = location.folder().join(CARD);
    match std::fs::read(&path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn holds_lines(location: &Location) -> anyhow::Result<bool> {
    for series in Series::ALL {
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
    if let Some(theirs) = card(location)?.filter(|theirs| !requests.is_empty() && theirs != terms) {
        bail!("the requests there were run with {theirs}, not {terms}; choose another folder");
    }
    check(&starts, &requests, terms)?;
    let step_lines = lines_of(location, Series::Steps)?;
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
        // These stand on the card only.
        top_p: terms.top_p,
        seed: terms.seed,
    });
    if let Some(theirs) = differing.into_iter().find(|theirs| theirs != terms) {
        bail!("the requests there were run with {theirs}, not {terms}; choose another folder");
    }
    Ok(())
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, temperature, top_p, max_tokens, seed } = self;
        write!(f, "model {model}, --temperature {temperature} --top-p {top_p} --max-tokens {max_tokens} --seed {seed}")
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

fn lines_of(location: &Location, series: Series) -> anyhow::Result<u64> {
    let mut lines = 0;
    for segment in location.segments(series)? {
        lines += count_lines(&segment.path)?;
    }
    Ok(lines)
}

/// Leaves the first `lines` of a series.
fn cut(location: &Location, series: Series, lines: u64) -> anyhow::Result<()> {
    for segment in location.segments(series)? {
        let (path, rest) = (&segment.path, lines.saturating_sub(segment.offset.unwrap_or(0)));
        if rest == 0 {
            std::fs::remove_file(path)?;
            continue;
        }
        if segment.is_packed() {
            let is_whole = count_lines(path)? <= rest;
            ensure!(is_whole, "{}: lines have to be cut off; unpack it with gunzip", path.display());
            continue;
        }
        let mut file = BufReader::new(File::open(path)?);
        let mut bytes = 0;
        for _ in 0..rest {
            bytes += file.skip_until(b'\n')? as u64;
        }
        OpenOptions::new().write(true).open(path)?.set_len(bytes)?;
    }
    Ok(())
}
