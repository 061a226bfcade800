//! What a predictor has to know again after a restart, read from the end of the log.
//!
//! Lines are written per group of messages as arrivals, outcomes, steps. A process killed in between leaves a prefix of that, so
//! - the last message that step lines tell of may be there in part: it counts as not applied, and when it is sent again its
//!   events that do stand in the log are known by their steps, or by [`Recovered::finished_last`];
//! - outcomes may be there whose last step lines are not: such a request stays live with `concluded` set, until these come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::time::{Duration, SystemTime};

use eoscast_proto::domain::{ModelForecast, RequestId, RequestStarted, StepEvent, WorkerId, WorkerRun};

use eoscast_forecast::features::FeatureState;
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::history::History;
use eoscast_forecast::models::{LengthModel, Memory, ModelVersion};
use eoscast_log::location::{Location, Segment, Series};
use eoscast_log::reader::{Damages, LineReader};
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use eoscast_log::request::LoggedRequest;
use eoscast_log::tail::NewestSteps;

/// Bytes at the end of each series that are read. Requests whose lines lie farther back are forgotten.
const READ_BYTES: u64 = 256 << 20;
/// How far the clock of a worker may be ahead of ours.
const EPOCH_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// What the log knows.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Outcomes, for the models.
    pub history: History,
    /// Requests that were not finished.
    pub live: Vec<RecoveredRequest>,
    /// Per run of a worker, the last message that step lines tell of, perhaps in part.
    pub last: HashMap<WorkerRun, u64>,
    /// Requests that finished in that message.
    pub finished_last: HashSet<(WorkerRun, RequestId)>,
    /// The worker of each outcome in [`history`](Self::history), in the same order.
    pub learned_from: VecDeque<WorkerId>,
    /// Runs with a larger epoch are not believed.
    pub latest_epoch: u64,
    /// Lines that could not be read.
    pub damages: Damages,
}

/// A request that was live when the log ended.
#[derive(Debug)]
pub struct RecoveredRequest {
    /// What its next lines need.
    pub logged: LoggedRequest,
    /// The estimate made on arrival, if that is known.
    pub first_estimate: Option<ModelForecast>,
    /// Its steps so far.
    pub features: FeatureState,
    seen: Seen,
    /// Its outcome is in the log, but not all of its steps.
    pub concluded: bool,
    sequence_number: u64,
}

/// What the model that answered last has seen of a request.
#[derive(Debug)]
struct Seen {
    /// That model: everything before the outcomes in its version; empty before the first answer.
    family: String,
    /// Features before the first of `steps`.
    before: FeatureState,
    steps: Vec<StepEvent>,
}

impl Seen {
    fn nothing(before: FeatureState) -> Self {
        Self { family: String::new(), before, steps: vec![] }
    }
}

impl RecoveredRequest {
    /// What `model` would have kept of the request by now, had it answered all along, if it did; else nothing yet.
    pub fn memory(&self, model: &dyn LengthModel) -> Memory {
        let mut memory = model.memory();
        let mut state = self.seen.before.clone();
        let answered = self.seen.family == ModelVersion::family_of(model);
        if self.features.observed() == 0 || (answered && state.observed() == 0) {
            forecast(model, &state.row(), &mut memory);
        }
        if answered {
            for event in &self.seen.steps {
                forecast(model, &state.observe(event), &mut memory);
            }
        }
        memory
    }
}

type Key = (WorkerId, u64, RequestId);

#[derive(Default)]
struct Recovery {
    live: HashMap<Key, RecoveredRequest>,
    /// Per run, the last message that step lines tell of, and its time.
    last: HashMap<WorkerRun, (u64, f64)>,
    finished: HashMap<(WorkerRun, RequestId), u64>,
    history: History,
    learned_from: VecDeque<WorkerId>,
    damages: Damages,
}

/// The largest epoch that a run may have now. Epochs may be times in microseconds since 1970, or any smaller numbers; one beyond, by
/// a mistake or in bad faith, would shut out all later runs of its worker.
pub(crate) fn latest_epoch() -> u64 {
    epoch_at(SystemTime::now() + EPOCH_AHEAD)
}

/// The epoch of a run that begins now.
pub(crate) fn epoch_now() -> u64 {
    epoch_at(SystemTime::now())
}

fn epoch_at(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

/// Reads the end of the log at `location`.
///
/// # Errors
/// When a file cannot be read; lines that cannot are told in the result.
pub fn recover(location: &Location) -> io::Result<Recovered> {
    let mut recovery = Recovery::default();
    let newest = |series| location.newest(series, READ_BYTES);
    // Where step lines are left out, so are the arrivals before the first that is read: they may have finished long ago.
    let NewestSteps { segments: steps, since } = NewestSteps::of(location, READ_BYTES)?;
    for segment in newest(Series::Starts)?.0 {
        recovery.each(&segment, |recovery, line: StartLine| {
            if line.timestamp >= since {
                recovery.start(line);
            }
            None
        })?;
    }
    for segment in steps {
        recovery.each(&segment, Recovery::step)?;
    }
    for segment in newest(Series::Requests)?.0 {
        recovery.each(&segment, |recovery, line: RequestLine| {
            recovery.outcome(&line);
            None
        })?;
    }
    Ok(recovery.finish())
}

impl Recovery {
    /// Hands each line of a file to `apply`, which says what is wrong with it, if anything.
    fn each<T: serde::de::DeserializeOwned>(
        &mut self,
        segment: &Segment,
        mut apply: impl FnMut(&mut Self, T) -> Option<&'static str>,
    ) -> io::Result<()> {
        let mut reader = LineReader::open(&segment.path)?;
        while let Some(line) = reader.read_line()? {
            match line {
                Ok((_, line)) => {
                    if let Some(reason) = apply(self, line) {
                        self.damages.push(reader.damage(reason, reason));
                    }
                }
                Err(damage) => self.damages.push(damage),
            }
        }
        Ok(())
    }

    fn start(&mut self, line: StartLine) {
        let run = WorkerRun { worker_id: line.worker_id.clone(), epoch: line.epoch };
        let arrival = line.arrival();
        let features = FeatureState::new(arrival, line.output_length);
        let request = RecoveredRequest {
            seen: Seen::nothing(features.clone()),
            features,
            logged: LoggedRequest::of_known_prompt(line.started(), run, line.timestamp, arrival.prompt),
            first_estimate: line.estimate,
            concluded: false,
            sequence_number: line.sequence_number,
        };
        self.live.insert((line.worker_id, line.epoch, line.request_id), request);
    }

    fn step(&mut self, line: StepLine) -> Option<&'static str> {
        let Some(event) = line.event() else {
            return Some("has impossible signals");
        };
        let run = WorkerRun { worker_id: line.worker_id.clone(), epoch: line.epoch };
        let last = self.last.entry(run.clone()).or_default();
        *last = (last.0.max(line.sequence_number), last.1.max(line.timestamp));
        let key = (line.worker_id.clone(), line.epoch, line.request_id.clone());
        if self.live.get(&key).is_some_and(|live| live.sequence_number > line.sequence_number) {
            // Of an earlier request of the same name.
            return None;
        }
        if line.is_finished {
            self.live.remove(&key);
            self.finished.insert((run, line.request_id), line.sequence_number);
            return None;
        }
        let live = self.live.entry(key).or_insert_with(|| from_step(run, &line));
        if line.observed == 1 || live.features.observed() + 1 != line.observed {
            live.features = FeatureState::new(live.logged.arrival(), line.step);
            live.logged.restart();
            // The row on arrival: before this step if that is the first, else before the next.
            let before = if line.observed == 1 { line.step - 1 } else { line.step };
            live.seen = Seen::nothing(FeatureState::new(live.logged.arrival(), before));
        }
        let family = line.estimate.as_ref().and_then(|estimate| ModelVersion::parse(&estimate.model_version));
        if let Some(ModelVersion { family, .. }) = family
            && family != live.seen.family
        {
            // Where the first answer is that to the first step, this was the model on arrival, too.
            if live.features.observed() > 0 {
                live.seen = Seen::nothing(live.features.clone());
            }
            live.seen.family = family;
        }
        live.logged.observe(&event, line.timestamp);
        if live.features.observed() + 1 == line.observed {
            live.features.observe(&event);
            live.seen.steps.push(event);
        } else {
            live.logged.restart();
        }
        None
    }

    fn outcome(&mut self, line: &RequestLine) {
        if line.is_learned() {
            self.history.push(line.outcome());
            (self.history.seen, self.history.censored) = (line.outcome_number, line.censored_outcomes);
            self.learned_from.push_back(line.worker_id.clone());
            if self.learned_from.len() > self.history.recent.len() {
                self.learned_from.pop_front();
            }
        }
        let key = (line.worker_id.clone(), line.epoch, line.request_id.clone());
        let Some(live) = self.live.get_mut(&key) else { return };
        if line.timestamp < live.logged.seen_at() || line.started_at > live.logged.started_at() {
            return;
        }
        // A step line that was not written would be later than all that were.
        let run = WorkerRun { worker_id: line.worker_id.clone(), epoch: line.epoch };
        let after_the_last = self.last.get(&run).is_none_or(|(_, time)| line.timestamp >= *time);
        if after_the_last && line.output_length > live.logged.last_step() {
            live.concluded = true;
        } else {
            self.live.remove(&key);
        }
    }

    fn finish(self) -> Recovered {
        let last = |run: &WorkerRun| self.last.get(run).map(|(sequence_number, _)| *sequence_number);
        let finished_last = self.finished.iter().filter(|((run, _), at)| last(run) == Some(**at));
        Recovered {
            finished_last: finished_last.map(|(key, _)| key.clone()).collect(),
            last: self.last.iter().map(|(run, (at, _))| (run.clone(), *at)).collect(),
            history: self.history,
            learned_from: self.learned_from,
            latest_epoch: latest_epoch(),
            live: self.live.into_values().collect(),
            damages: self.damages,
        }
    }
}

/// A request whose arrival is not in the log any more. Its features begin anew unless this is its first step.
fn from_step(run: WorkerRun, line: &StepLine) -> RecoveredRequest {
    let started = RequestStarted {
        request_id: line.request_id.clone(),
        model: line.model.as_ref().to_owned(),
        eos_token_ids: vec![line.eos_token_id],
        prompt_length: line.prompt_length,
        max_tokens: line.max_tokens,
        temperature: line.temperature,
        task: line.task.as_ref().map(|task| task.as_ref().to_owned()),
        output_length: line.step,
        ignore_eos: line.ignore_eos,
        // Whether it is under length control at all is only known once a step of it was steered.
        target_tokens: (line.eos_bias > 0.0).then_some(line.step),
        prompt: None,
    };
    let features = FeatureState::new(line.arrival(), line.step);
    RecoveredRequest {
        seen: Seen::nothing(features.clone()),
        features,
        logged: LoggedRequest::of_known_prompt(started, run, line.timestamp, None),
        first_estimate: None,
        concluded: false,
        sequence_number: line.sequence_number,
    }
}
