//! [`replay`]: makes every estimate of a log again, from the lines alone, and compares bit for bit.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use eoscast_proto::domain::{ModelForecast, RequestId, WorkerId};
use serde::Serialize;

use crate::retraining;
use eoscast_forecast::features::{FeatureRow, FeatureState};
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::history::{History, LONGEST_WINDOW};
use eoscast_forecast::models::{Artifact, LengthModel, Memory, ModelKind, ModelVersion};
use eoscast_log::location::{Location, Series};
use eoscast_log::reader::{Damages, LineReader};
use eoscast_log::record::{Arrival, GapLine, Outcome, RequestLine, StartLine, StepLine};

/// Differences and damaged lines that are told one by one.
const TOLD: usize = 10;

/// An estimate that came out differently.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Difference {
    /// File and line of the logged estimate.
    pub(crate) at: String,
    /// Request of the estimate.
    pub(crate) request_id: RequestId,
    /// Tokens generated.
    pub(crate) step: u32,
    /// What the log says.
    pub(crate) logged: ModelForecast,
    /// What came out now.
    pub(crate) replayed: ModelForecast,
}

/// What a replay found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Estimates in the log.
    pub(crate) estimates: u64,
    /// Those that came out the same, bit for bit.
    pub(crate) identical: u64,
    /// Those that did not.
    pub(crate) different: u64,
    /// Those that could not be made again, by reason.
    pub(crate) not_recomputable: BTreeMap<&'static str, u64>,
    /// Gaps that are marked beside the log, and the lines that are missing there at most.
    pub(crate) gaps: u64,
    pub(crate) missing_lines: u64,
    /// Lines that could not be read.
    pub(crate) damaged_lines: u64,
    /// The first of these, as `file:line: reason`.
    pub(crate) first_damaged: Vec<String>,
    /// The first differences.
    pub(crate) first_differences: Vec<Difference>,
}

const NO_OUTCOMES: &str = "outcomes that the model had seen are not in the log";
const NO_STEPS: &str = "earlier steps of the request are not in the log";
const NO_MODEL: &str = "the model, its version or its artifact is another one";

/// The models as they were after any number of outcomes.
struct ModelsInTime {
    artifacts: Vec<Artifact>,
    outcomes: HashMap<u64, Outcome>,
    /// By version without the outcomes; the number is that of the outcomes seen.
    models: HashMap<String, (u64, Box<dyn LengthModel>)>,
}

impl ModelsInTime {
    /// The model whose source and version `logged` names.
    fn find(&mut self, logged: &ModelForecast) -> Result<&dyn LengthModel, &'static str> {
        let version = ModelVersion::parse(&logged.model_version).ok_or(NO_MODEL)?;
        let kind = ModelKind::parse(&logged.source).ok_or(NO_MODEL)?;
        let artifact = std::iter::once(None)
            .chain(self.artifacts.iter().map(Some))
            .find(|artifact| kind.family(*artifact) == version.family)
            .ok_or(NO_MODEL)?;
        let key = version.family;
        let wanted = version.outcomes;
        let (seen, mut model) = match self.models.remove(&key) {
            Some((seen, model)) if seen <= wanted && wanted - seen < LONGEST_WINDOW as u64 => (seen, model),
            _ => (wanted, kind.build(artifact, &history(&self.outcomes, wanted)?)),
        };
        for number in seen + 1..=wanted {
            model.observe(*self.outcomes.get(&number).ok_or(NO_OUTCOMES)?);
        }
        let (_, model) = self.models.entry(key).or_insert((wanted, model));
        Ok(&**model)
    }
}

/// The outcomes that a model may look back on after `seen` of them.
fn history(outcomes: &HashMap<u64, Outcome>, seen: u64) -> Result<History, &'static str> {
    let mut history = History { seen: seen.saturating_sub(LONGEST_WINDOW as u64), ..History::default() };
    for number in history.seen + 1..=seen {
        history.push(*outcomes.get(&number).ok_or(NO_OUTCOMES)?);
    }
    Ok(history)
}

type Key = (WorkerId, u64, RequestId);

/// A request on its way through the log.
struct Live {
    features: FeatureState,
    /// The features on arrival, until a model has seen them.
    arrival: Option<FeatureRow>,
    /// The model that answered last, and what it keeps.
    memory: Option<(String, Memory)>,
}

impl Live {
    fn new(features: FeatureState) -> Self {
        Self { arrival: Some(features.row()), features, memory: None }
    }

    /// What `model` answers to `row`. A model that was swapped in knows nothing of the steps before.
    fn forecast(&mut self, model: &dyn LengthModel, row: &FeatureRow) -> ModelForecast {
        let family = ModelVersion::family_of(model);
        let memory = match &mut self.memory {
            Some((known, memory)) if *known == family => memory,
            other => &mut other.insert((family, model.memory())).1,
        };
        if let Some(arrival) = self.arrival.take() {
            forecast(model, &arrival, memory);
        }
        forecast(model, row, memory)
    }
}

struct Replay {
    models: ModelsInTime,
    /// Of every request that used the name, oldest first: when, and what was known.
    arrivals: HashMap<Key, Vec<(f64, Arrival)>>,
    states: HashMap<Key, Live>,
    report: Report,
    damages: Damages,
}

/// Replays the log at `path`, a folder or a file, whose estimates were made with these artifacts, with the one that ships, or with
/// those that retraining left beside the log; `progress` is told the bytes of each file that is done.
///
/// # Errors
/// When there is no log, or a file cannot be read.
pub(crate) fn replay(
    path: &Path,
    mut artifacts: Vec<Artifact>,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Report> {
    let location = Location::parse(path);
    let steps = location.segments(Series::Steps)?;
    ensure!(!steps.is_empty(), "{}: has no event log; give the folder or the file that serve writes", path.display());
    artifacts.push(ArtifactSource::Shipped.load()?);
    artifacts.extend(retraining::artifacts(&location)?);
    let mut replay = Replay {
        models: ModelsInTime { artifacts, outcomes: HashMap::new(), models: HashMap::new() },
        arrivals: HashMap::new(),
        states: HashMap::new(),
        report: Report::default(),
        damages: Damages::default(),
    };
    let paths = |series| -> std::io::Result<Vec<PathBuf>> {
        Ok(location.segments(series)?.into_iter().map(|segment| segment.path).collect())
    };
    let requests = paths(Series::Requests)?;
    for path in &requests {
        replay.each(path, |replay, _, line: &RequestLine| {
            if line.is_learned() {
                replay.models.outcomes.insert(line.outcome_number, line.outcome());
            }
        })?;
    }
    for path in &paths(Series::Starts)? {
        replay.each(path, Replay::start)?;
        progress(std::fs::metadata(path)?.len());
    }
    for path in &requests {
        replay.each(path, Replay::request)?;
        progress(std::fs::metadata(path)?.len());
    }
    for segment in &steps {
        replay.each(&segment.path, Replay::step)?;
        progress(std::fs::metadata(&segment.path)?.len());
    }
    let gaps = GapLine::all(&location)?;
    replay.report.gaps = gaps.len() as u64;
    replay.report.missing_lines = gaps.iter().map(|gap| gap.missing.sum()).sum();
    replay.report.damaged_lines = replay.damages.count;
    replay.report.first_damaged = replay.damages.first.iter().take(TOLD).map(ToString::to_string).collect();
    Ok(replay.report)
}

impl Replay {
    fn each<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &Path,
        mut apply: impl FnMut(&mut Self, &Place<'_>, &T),
    ) -> anyhow::Result<()> {
        let name = || path.display().to_string();
        let mut reader = LineReader::open(path).with_context(name)?;
        while let Some(line) = reader.read_line().with_context(name)? {
            match line {
                Ok((line, value)) => apply(self, &Place { path, line }, &value),
                Err(damage) => self.damages.push(damage),
            }
        }
        Ok(())
    }

    fn start(&mut self, place: &Place<'_>, line: &StartLine) {
        let key = (line.worker_id.clone(), line.epoch, line.request_id.clone());
        self.arrivals.entry(key).or_default().push((line.timestamp, line.arrival()));
        if let Some(logged) = &line.estimate {
            self.compare_first(place, &line.request_id, logged, &FeatureState::new(line.arrival(), line.output_length));
        }
    }

    /// The estimate on arrival stands once more beside the outcome.
    fn request(&mut self, place: &Place<'_>, line: &RequestLine) {
        if let Some(logged) = &line.first_estimate {
            self.compare_first(place, &line.request_id, logged, &FeatureState::new(line.arrival(), line.first_length));
        }
    }

    fn step(&mut self, place: &Place<'_>, line: &StepLine) {
        let Some(event) = line.event() else {
            self.damages.push(eoscast_log::reader::Damage {
                path: place.path.to_owned(),
                line: place.line,
                kind: "has impossible signals",
                reason: "has impossible signals".to_owned(),
            });
            return;
        };
        let key = (line.worker_id.clone(), line.epoch, line.request_id.clone());
        if line.observed == 1 {
            let known = self.arrivals.get(&key).into_iter().flatten().rfind(|(at, _)| *at <= line.timestamp);
            let arrival = known.map_or_else(|| line.arrival(), |(_, arrival)| *arrival);
            self.states.insert(key.clone(), Live::new(FeatureState::new(arrival, line.step - 1)));
        }
        let mut live = self.states.remove(&key).filter(|live| live.features.observed() + 1 == line.observed);
        let row = live.as_mut().map(|live| live.features.observe(&event));
        if let Some(logged) = &line.estimate {
            let replayed = match (&mut live, &row) {
                (Some(live), Some(row)) => self.models.find(logged).map(|model| live.forecast(model, row)),
                _ => Err(NO_STEPS),
            };
            self.compare(place, &line.request_id, line.step, logged, replayed);
        }
        if let Some(live) = live.filter(|_| !line.is_finished) {
            self.states.insert(key, live);
        }
    }

    fn compare_first(
        &mut self,
        place: &Place<'_>,
        request_id: &RequestId,
        logged: &ModelForecast,
        state: &FeatureState,
    ) {
        let find = self.models.find(logged);
        let replayed = find.map(|model| forecast(model, &state.row(), &mut model.memory()));
        self.compare(place, request_id, state.step(), logged, replayed);
    }

    fn compare(
        &mut self,
        place: &Place<'_>,
        request_id: &RequestId,
        step: u32,
        logged: &ModelForecast,
        replayed: Result<ModelForecast, &'static str>,
    ) {
        self.report.estimates += 1;
        match replayed {
            Err(reason) => *self.report.not_recomputable.entry(reason).or_default() += 1,
            Ok(replayed) if replayed.same_bits(logged) => self.report.identical += 1,
            Ok(replayed) => {
                self.report.different += 1;
                if self.report.first_differences.len() < TOLD {
                    self.report.first_differences.push(Difference {
                        at: format!("{}:{}", place.path.display(), place.line),
                        request_id: request_id.clone(),
                        step,
                        logged: logged.clone(),
                        replayed,
                    });
                }
            }
        }
    }
}

/// Where a line stands.
struct Place<'a> {
    path: &'a Path,
    line: u64,
}
