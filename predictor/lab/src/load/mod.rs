//! Plays a log to a predictor as one worker would, at a given rate, and measures how it keeps up.
//!
//! - this file: what a worker with so many live requests would send, message by message; pure
//! - [`rpc`]: sends it and takes the time
//! - [`report`]: what came out

pub mod report;
pub mod rpc;

use std::collections::HashMap;
use std::path::Path;

use anyhow::ensure;
use eoscast_log::location::{Location, Series};
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use eoscast_proto::domain::{
    EngineLoad, FinishReason, RequestEnded, RequestId, RequestStarted, StepBatch, StepEvent, WorkerRun,
};

/// Logged requests that are kept in memory; they are played again and again.
const MOST_REQUESTS: usize = 512;

/// One logged request.
#[derive(Debug, Clone)]
pub struct Recorded {
    started: RequestStarted,
    events: Vec<StepEvent>,
    finish_reason: FinishReason,
}

/// Reads the first finished requests of the log at `path`.
///
/// # Errors
/// When a file cannot be read, or the log has no finished request with its steps.
pub fn read(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let location = Location::parse(path);
    let mut recorded: HashMap<RequestId, Recorded> = HashMap::new();
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
            recorded.insert(line.request_id, Recorded { started, events: vec![], finish_reason });
        }
        order.len() < finished.len()
    })?;
    each(&location, Series::Steps, |line: StepLine| {
        if let (Some(request), Some(event)) = (recorded.get_mut(&line.request_id), line.event())
            && event.step == request.events.len() as u32 + 1
        {
            request.events.push(event);
        }
        true
    })?;
    let whole = |id: &RequestId| {
        let request = recorded.remove(id)?;
        let length = finished.get(id)?.output_length;
        (length > 0 && request.events.len() as u32 == length).then_some(request)
    };
    let requests: Vec<_> = order.iter().filter_map(whole).collect();
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

/// A worker whose requests are those of a log.
#[derive(Debug)]
pub struct Player {
    requests: Vec<Recorded>,
    run: WorkerRun,
    live: Vec<Live>,
    played: usize,
    sequence_number: u64,
}

#[derive(Debug)]
struct Live {
    request_id: RequestId,
    recorded: usize,
    next: usize,
}

impl Player {
    /// Plays `requests` in turn, again and again.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(requests: Vec<Recorded>, run: WorkerRun) -> anyhow::Result<Self> {
        ensure!(!requests.is_empty(), "there are no requests to play");
        Ok(Self { requests, run, live: vec![], played: 0, sequence_number: 0 })
    }

    /// The next message: a step of each of `live` requests; new ones take the places of those that ended.
    ///
    /// # Errors
    /// When a request id of the log is too long to be told apart from its other plays.
    pub fn step(&mut self, live: usize, timestamp_micros: i64) -> anyhow::Result<StepBatch> {
        self.sequence_number += 1;
        let mut started = vec![];
        while self.live.len() < live {
            let recorded = self.played % self.requests.len();
            let request = &self.requests[recorded];
            let request_id: RequestId = format!("{}~{}", request.started.request_id, self.played).try_into()?;
            started.push(RequestStarted { request_id: request_id.clone(), ..request.started.clone() });
            self.live.push(Live { request_id, recorded, next: 0 });
            self.played += 1;
        }
        let (mut events, mut ended) = (vec![], vec![]);
        self.live.retain_mut(|live| {
            let request = &self.requests[live.recorded];
            let event = &request.events[live.next];
            live.next += 1;
            let last = live.next == request.events.len();
            events.push(StepEvent { request_id: live.request_id.clone(), ..event.clone() });
            if last && event.finish_reason.is_none() {
                ended.push(RequestEnded {
                    request_id: live.request_id.clone(),
                    finish_reason: request.finish_reason,
                    output_length: live.next as u32,
                });
            }
            !last
        });
        Ok(StepBatch {
            run: self.run.clone(),
            sequence_number: self.sequence_number,
            timestamp_micros,
            started,
            events,
            ended,
            load: EngineLoad::default(),
        })
    }
}
