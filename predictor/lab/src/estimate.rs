//! [`estimate`]: writes a log anew, with what a model would have said at each step.
//!
//! So a policy or another model can be judged afterwards on logs that were collected without a predictor.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use eoscast_log::EventLog;
use eoscast_log::location::{Location, Series};
use eoscast_log::record::{Lines, Outcome, RequestLine, StartLine, StepLine};
use eoscast_proto::domain::RequestId;

use crate::log_lines;
use eoscast_forecast::features::FeatureState;
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::models::{LengthModel, Memory};

/// Step lines of one append.
const LINES_PER_APPEND: usize = 4_096;

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Finished requests.
    pub requests: usize,
    /// Their steps.
    pub steps: usize,
}

/// A request on its way through the log.
struct Live {
    features: FeatureState,
    memory: Memory,
}

/// Writes the finished requests of the log at `path` whose id is in `wanted` (all, if `None`) to `out`, with the estimates of
/// `model`, which hears of an outcome after the message with the reply's last step, as while serving. `progress` is told the bytes
/// of each file that is read.
///
/// # Errors
/// A file cannot be read or written, or a line is damaged: named by file and line.
pub fn estimate(
    path: &Path,
    model: &mut dyn LengthModel,
    wanted: Option<&HashSet<RequestId>>,
    out: &mut EventLog,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Written> {
    let location = Location::parse(path);
    let mut requests: BTreeMap<u64, RequestLine> = BTreeMap::new();
    let mut numbers: HashMap<RequestId, u64> = HashMap::new();
    each(&location, Series::Requests, &mut progress, |line: RequestLine| {
        if line.is_learned() && wanted.is_none_or(|wanted| wanted.contains(&line.request_id)) {
            if numbers.insert(line.request_id.clone(), line.outcome_number).is_some() {
                bail!("request_id {} was there before: give a log of one run", line.request_id);
            }
            requests.insert(line.outcome_number, line);
        }
        Ok(())
    })?;
    ensure!(
        !requests.is_empty(),
        "{}: has no finished requests; estimate writes an event log, and needs one that serve or collect wrote",
        path.display()
    );
    let mut live: HashMap<RequestId, Live> = HashMap::new();
    let mut lines = Lines::default();
    each(&location, Series::Starts, &mut progress, |line: StartLine| {
        let Some(request) = numbers.get(&line.request_id).and_then(|number| requests.get_mut(number)) else {
            return Ok(());
        };
        let features = FeatureState::new(line.arrival(), line.output_length);
        let mut memory = model.memory();
        let first = Some(forecast(model, &features.row(), &mut memory));
        request.first_estimate.clone_from(&first);
        live.insert(line.request_id.clone(), Live { features, memory });
        lines.starts.push(StartLine { estimate: first, ..line });
        Ok(())
    })?;
    let written = Written { requests: live.len(), steps: 0 };
    ensure!(written.requests == requests.len(), "{}: the starts of some requests are missing", path.display());
    lines.requests = requests.values().cloned().collect();
    out.append(&[lines])?;

    let mut written = written;
    let mut lines = Lines::default();
    let mut message = None;
    let mut outcomes: Vec<Outcome> = Vec::new();
    each(&location, Series::Steps, &mut progress, |line: StepLine| {
        let of_line = Some((line.worker_id.clone(), line.sequence_number));
        if message != of_line {
            message = of_line;
            outcomes.drain(..).for_each(|outcome| model.observe(outcome));
        }
        let Some(request) = live.get_mut(&line.request_id) else { return Ok(()) };
        let event = line.event().with_context(|| format!("request {} has impossible signals", line.request_id))?;
        let row = request.features.observe(&event);
        let estimate = (!line.is_finished).then(|| forecast(model, &row, &mut request.memory));
        if line.is_finished {
            live.remove(&line.request_id);
            if let Some(line) = numbers.get(&line.request_id).and_then(|number| requests.get(number)) {
                outcomes.push(line.outcome());
            }
        }
        lines.steps.push(StepLine { estimate, ..line });
        written.steps += 1;
        if lines.steps.len() == LINES_PER_APPEND {
            out.append(&[std::mem::take(&mut lines)])?;
        }
        Ok(())
    })?;
    out.append(&[lines])?;
    out.sync()?;
    Ok(written)
}

/// Hands every line of a series to `take`.
fn each<T: serde::de::DeserializeOwned>(
    location: &Location,
    series: Series,
    progress: &mut dyn FnMut(u64),
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for segment in location.segments(series)? {
        log_lines::each(&segment.path, &mut take)?;
        progress(std::fs::metadata(&segment.path)?.len());
    }
    Ok(())
}
