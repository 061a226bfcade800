//! Trained models in the tracker: what is live equals what is replayed, whatever happens in between.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use eoscast_log::location::Location;
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use eoscast_proto::domain::{FinishReason, LengthEstimate, RequestStarted, StepEvent};

use super::*;
use crate::recovery::recover;
use crate::replay::replay;
use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::fitting::sample::Sample;
use eoscast_forecast::fitting::synthetic::{MAX_TOKENS, MODEL, dataset};
use eoscast_forecast::fitting::train::{TrainingOptions, train};

static DATA: LazyLock<Dataset> = LazyLock::new(|| dataset(150, 3));

/// Each kind is trained once for all tests.
fn artifact(kind: ModelKind) -> Artifact {
    static TRAINED: Mutex<BTreeMap<&str, Arc<OnceLock<Artifact>>>> = Mutex::new(BTreeMap::new());
    let trained = TRAINED.lock().unwrap().entry(kind.as_str()).or_default().clone();
    let train = || train(kind, &DATA, &TrainingOptions::for_test(), &mut |_| {}).unwrap();
    trained.get_or_init(|| Artifact::parse(&train()).unwrap()).clone()
}

fn started(sample: &Sample, model: &str) -> RequestStarted {
    RequestStarted {
        model: model.to_owned(),
        prompt_length: sample.arrival.prompt_length.unwrap(),
        max_tokens: MAX_TOKENS,
        temperature: 0.8,
        prompt: Some("Why?".to_owned()),
        ..RequestStarted::for_test(sample.request_id.as_str())
    }
}

/// Messages of a worker that runs these requests eight at a time.
fn messages(samples: &[Sample], model: &str) -> Vec<StepBatch> {
    let mut waiting = samples.iter();
    let mut running: Vec<(&Sample, Vec<StepEvent>)> = vec![];
    let mut messages = vec![];
    loop {
        let new: Vec<&Sample> = waiting.by_ref().take(8 - running.len()).collect();
        let arrived = new.iter().map(|sample| started(sample, model)).collect();
        running.extend(new.into_iter().map(|sample| (sample, sample.events().collect())));
        if running.is_empty() {
            return messages;
        }
        let sequence_number = messages.len() as u64 + 1;
        let mut events = vec![];
        running.retain_mut(|(sample, steps)| {
            let mut event = steps.remove(0);
            if steps.is_empty() {
                let reason = if sample.ended { FinishReason::Stop } else { FinishReason::Length };
                event.finish_reason = Some(reason);
            }
            events.push(event);
            !steps.is_empty()
        });
        messages.push(StepBatch {
            sequence_number,
            timestamp_micros: 1_700_000_000_000_000 + sequence_number as i64,
            started: arrived,
            events,
            ..StepBatch::for_test("w")
        });
    }
}

fn open(folder: &Path) -> EventLog {
    EventLog::open(&LogConfig {
        location: Location::Folder(folder.to_owned()),
        rotation: Rotation { bytes: 1 << 30, age: Duration::MAX },
        fsync: Fsync::Never,
        retention_bytes: 0,
    })
    .unwrap()
}

fn run(tracker: &mut Tracker, log: &mut EventLog, messages: &[StepBatch]) -> Vec<LengthEstimate> {
    let mut estimates = vec![];
    for message in messages {
        let applied = tracker.apply(message, 1).unwrap();
        log.append(&[applied.lines]).unwrap();
        estimates.extend(applied.estimates);
    }
    estimates
}

fn recovered(folder: &Path) -> Recovered {
    recover(&Location::Folder(folder.to_owned())).unwrap()
}

#[test]
fn estimates_of_models_with_memory_replay_bit_for_bit_across_a_restart() {
    for kind in [ModelKind::Survival, ModelKind::Gru, ModelKind::Transformer] {
        let (artifact, folder) = (artifact(kind), tempfile::tempdir().unwrap());
        let messages = messages(&DATA.samples[..60], MODEL);
        let (before, after) = messages.split_at(messages.len() / 2);
        let tracker = |recovered| Tracker::new(kind, Some(artifact.clone()), recovered, Instant::now()).0;
        run(&mut tracker(Recovered::default()), &mut open(folder.path()), before);
        let mut restarted = tracker(recovered(folder.path()));
        // The message that the log tells of last is sent again.
        run(&mut restarted, &mut open(folder.path()), &messages[before.len() - 1..before.len()]);
        run(&mut restarted, &mut open(folder.path()), after);
        let report = replay(folder.path(), vec![artifact], |_| {}).unwrap();
        assert!(report.estimates > 500);
        assert_eq!(report.identical, report.estimates, "{}: {:?}", kind.as_str(), report.first_differences.first());
    }
}

#[test]
fn outcomes_carry_where_they_stood_in_their_forecasts() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = artifact(ModelKind::LengthOnly);
    let mut tracker =
        Tracker::new(ModelKind::LengthOnly, Some(artifact.clone()), Recovered::default(), Instant::now()).0;
    let messages = messages(&DATA.samples[..40], MODEL);
    let mut pits = vec![];
    for message in &messages {
        let applied = tracker.apply(message, 1).unwrap();
        pits.extend(applied.lines.requests.iter().map(|line| (line.output_length, line.pits.unwrap())));
        open(folder.path()).append(&[applied.lines]).unwrap();
    }
    for (length, pits) in &pits {
        assert_eq!(pits.artifact, artifact.start.mark());
        let ages = pits.values.iter().flatten().count();
        assert_eq!(ages, 1 + [17, 65, 129, 257].iter().filter(|start| length >= start).count(), "{length}: {pits:?}");
    }
    assert_eq!(recovered(folder.path()).history.recent.back().unwrap().pits, Some(pits[pits.len() - 1].1));
}

#[test]
fn requests_of_another_generating_model_are_answered_by_the_prior() {
    let artifact = artifact(ModelKind::Survival);
    let mut tracker = Tracker::new(ModelKind::Survival, Some(artifact), Recovered::default(), Instant::now()).0;
    let folder = tempfile::tempdir().unwrap();
    let estimates = run(&mut tracker, &mut open(folder.path()), &messages(&DATA.samples[..5], "another"));
    assert!(
        estimates.iter().all(|e| &*e.forecast.source == "prior" && e.forecast.model_version.starts_with("prior/1:"))
    );
    let report = replay(folder.path(), vec![], |_| {}).unwrap();
    assert_eq!(report.identical, report.estimates);
}

#[test]
fn swaps_of_models_go_on_with_every_live_request_and_replay_bit_for_bit() {
    let [survival, mlp] = [ModelKind::Survival, ModelKind::Mlp].map(artifact);
    let mut tracker = Tracker::new(ModelKind::Prior, None, Recovered::default(), Instant::now()).0;
    let (folder, messages) = (tempfile::tempdir().unwrap(), messages(&DATA.samples[..60], MODEL));
    let mut log = open(folder.path());
    let part = messages.len() / 4;
    let [first, second, third] = [1, 2, 3].map(|i| i * part);
    run(&mut tracker, &mut log, &messages[..first]);
    for (artifact, messages) in
        [(&survival, &messages[first..second]), (&mlp, &messages[second..third]), (&survival, &messages[third..])]
    {
        let live = tracker.live_requests();
        tracker.swap(artifact.clone());
        assert_eq!(tracker.live_requests(), live);
        let estimates = run(&mut tracker, &mut log, messages);
        assert!(estimates.iter().all(|estimate| estimate.forecast.model_version.contains(&artifact.start.digest)));
    }
    drop(log);
    let report = replay(folder.path(), vec![survival, mlp], |_| {}).unwrap();
    assert_eq!((report.identical, report.estimates > 500), (report.estimates, true), "{report:?}");
}

#[test]
fn what_came_of_forecasts_is_told_by_model() {
    let artifact = artifact(ModelKind::LengthOnly);
    let mut tracker = Tracker::new(ModelKind::Prior, None, Recovered::default(), Instant::now()).0;
    let (folder, messages) = (tempfile::tempdir().unwrap(), messages(&DATA.samples[..60], MODEL));
    let mut log = open(folder.path());
    let (before, after) = messages.split_at(messages.len() / 2);
    run(&mut tracker, &mut log, before);
    let [prior] = &tracker.accuracy()[..] else { panic!("one model so far") };
    assert!(prior.model == "prior/1" && prior.error_to_prior() == 1.0 && prior.mae > 1.0, "{prior:?}");
    tracker.swap(artifact);
    run(&mut tracker, &mut log, after);
    let [trained, _] = &tracker.accuracy()[..] else { panic!("two models by now") };
    assert!(trained.model.starts_with("length-only/1+") && trained.requests > 10, "{trained:?}");
    assert!(trained.coverage90[0].share > 0.5 && trained.mae < 2.0 * trained.prior_mae, "{trained:?}");
}
