//! [`Recorder`]: keeps what the engine tells of a request until it has finished; only then are there lines of it.

use std::collections::HashMap;

use eoscast_log::record::{Lines, StartLine, StepLine, seconds};
use eoscast_log::request::LoggedRequest;
use eoscast_proto::domain::{RequestId, StepBatch, StepEvent, WorkerRun};

/// How many outcomes a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutcomeCounts {
    /// All of them.
    pub all: u64,
    /// Those of replies that did not end by themselves.
    pub censored: u64,
}

/// Makes the lines of finished requests.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    running: HashMap<RequestId, Recording>,
    outcomes: OutcomeCounts,
}

/// A request that has not finished.
#[derive(Debug)]
struct Recording {
    logged: LoggedRequest,
    start: StartLine,
    steps: Vec<StepLine>,
}

impl Recorder {
    /// Goes on numbering outcomes after those that a log holds.
    #[must_use]
    pub(super) fn after(outcomes: OutcomeCounts) -> Self {
        Self { running: HashMap::new(), outcomes }
    }

    /// The lines of the requests that finished with this batch; one that was aborted or failed has none.
    pub(super) fn take_in(&mut self, batch: StepBatch) -> Lines {
        let StepBatch { run, sequence_number, timestamp_micros, started, events, ended, .. } = batch;
        let at = seconds(timestamp_micros);
        for started in started {
            self.running.insert(started.request_id.clone(), Recording::new(started, &run, sequence_number, at));
        }
        let mut lines = Lines::default();
        for event in events {
            self.step(&event, sequence_number, at, &mut lines);
        }
        for ended in ended {
            self.running.remove(&ended.request_id);
        }
        lines
    }

    fn step(&mut self, event: &StepEvent, sequence_number: u64, at: f64, lines: &mut Lines) {
        let Some(recording) = self.running.get_mut(&event.request_id) else { return };
        recording.logged.observe(event, at);
        recording.steps.push(recording.logged.step_line(event, sequence_number, None));
        let Some(finish_reason) = event.finish_reason else { return };
        let Some(Recording { logged, start, steps }) = self.running.remove(&event.request_id) else { return };
        let mut outcome = logged.request_line(finish_reason, event.step, at, None);
        self.outcomes.all += 1;
        self.outcomes.censored += u64::from(outcome.censored);
        (outcome.outcome_number, outcome.censored_outcomes) = (self.outcomes.all, self.outcomes.censored);
        lines.starts.push(start);
        lines.requests.push(outcome);
        lines.steps.extend(steps);
    }
}

impl Recording {
    fn new(started: eoscast_proto::domain::RequestStarted, run: &WorkerRun, sequence_number: u64, at: f64) -> Self {
        let logged = LoggedRequest::new(started, run.clone(), at);
        Self { start: logged.start_line(sequence_number, None), logged, steps: Vec::new() }
    }
}
