//! [`read`]: finished requests of a log, as they are played again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use eoscast_log::location::{Location, Series};
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use eoscast_proto::domain::{FinishReason, RequestId, RequestStarted, StepEvent};
use eoscast_proto::predictor::v1 as pb;

use super::wire::Entry;

/// Logged requests that are kept in memory; they are played again and again.
const MOST_REQUESTS: usize = 512;

/// One logged request, encoded.
#[derive(Debug)]
pub struct Recorded {
    pub(super) id: RequestId,
    pub(super) started: Entry,
    /// All its steps, at least one.
    pub(super) events: Vec<RecordedEvent>,
    /// Its end, where no event says so.
    pub(super) ended: Entry,
}

#[derive(Debug)]
pub(super) struct RecordedEvent {
    pub(super) entry: Entry,
    /// It says that the reply ends.
    pub(super) ends: bool,
}

impl Recorded {
    pub(super) fn new(started: RequestStarted, events: Vec<StepEvent>, finish_reason: FinishReason) -> Self {
        let id = started.request_id.clone();
        let output_length = events.len() as u32;
        let ended = pb::RequestEnded {
            request_id: String::new(),
            finish_reason: pb::FinishReason::from(finish_reason).into(),
            output_length,
        };
        let event = |event: StepEvent| RecordedEvent {
            ends: event.finish_reason.is_some(),
            entry: Entry::new(&pb::StepEvent { request_id: String::new(), ..event.into() }),
        };
        Self {
            id,
            started: Entry::new(&pb::RequestStarted { request_id: String::new(), ..started.into() }),
            events: events.into_iter().map(event).collect(),
            ended: Entry::new(&ended),
        }
    }
}

/// One logged request while the log is read.
struct Reading {
    started: RequestStarted,
    events: Vec<StepEvent>,
    finish_reason: FinishReason,
}

/// Reads the first finished requests of the log at `path`; at least one.
///
/// # Errors
/// When a file cannot be read, or the log has no finished request with its steps.
pub fn read(path: &Path) -> anyhow::Result<Arc<[Recorded]>> {
    let location = Location::parse(path);
    let mut reading: HashMap<RequestId, Reading> = HashMap::new();
    let mut finished: HashMap<RequestId, RequestLine> = HashMap::new();
    each(&location, Series::Requests, |line: RequestLine| {
        finished.insert(line.request_id.clone(), line);
        finished.len() < MOST_REQUESTS
    })?;
    let mut order = vec![];
    each(&location, Series::Starts, |line: StartLine| {
        if let Some(outcome) = finished.get(&line.request_id) {
            order.push(line.request_id.clone());
            let started = RequestStarted { output_length: 0, target_tokens: None, ..line.started() };
            let finish_reason = outcome.finish_reason;
            reading.insert(line.request_id, Reading { started, events: vec![], finish_reason });
        }
        order.len() < finished.len()
    })?;
    each(&location, Series::Steps, |line: StepLine| {
        if let (Some(request), Some(event)) = (reading.get_mut(&line.request_id), line.event())
            && event.step == request.events.len() as u32 + 1
        {
            request.events.push(event);
        }
        true
    })?;
    let whole = |id: &RequestId| {
        let request = reading.remove(id)?;
        let length = finished.get(id)?.output_length;
        let is_whole = length > 0 && request.events.len() as u32 == length;
        is_whole.then(|| Recorded::new(request.started, request.events, request.finish_reason))
    };
    let requests: Arc<[Recorded]> = order.iter().filter_map(whole).collect();
    ensure!(
        !requests.is_empty(),
        "{}: has no finished request with all its steps; give the folder of a log that serve or collect wrote",
        path.display()
    );
    Ok(requests)
}

/// Hands whole lines of a series to `take` until it wants no more.
fn each<T: serde::de::DeserializeOwned>(
    location: &Location,
    series: Series,
    mut take: impl FnMut(T) -> bool,
) -> std::io::Result<()> {
    for segment in location.segments(series)? {
        let mut reader = LineReader::open(&segment.path)?;
        while let Some(line) = reader.read_line()? {
            if let Ok((_, line)) = line
                && !take(line)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}
