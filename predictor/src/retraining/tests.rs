use std::path::Path;
use std::time::Duration;

use super::trial::TrialRequests;
use super::*;
use eoscast_forecast::fitting::dataset::{Dataset, Selection};
use eoscast_forecast::fitting::synthetic::{dataset, write_log, write_shifting_log};
use eoscast_forecast::fitting::train::train;
use eoscast_forecast::history::History;
use eoscast_forecast::models::ModelKind;
use eoscast_log::record::Outcome;

/// A model that serves, after the outcomes of the log.
fn incumbent(folder: &Path, artifact: Option<Artifact>) -> Incumbent {
    let mut history = History::default();
    for sample in Dataset::load(folder, &Selection::default(), |_| {}).unwrap().samples {
        history.push(Outcome::new(sample.length, !sample.ended));
    }
    Incumbent { kind: artifact.as_ref().map_or(ModelKind::Prior, |artifact| artifact.kind), artifact, history }
}

fn retrainer(location: &Location) -> Retrainer {
    Retrainer {
        location: location.clone(),
        every: 100,
        started_with: "prior/1".to_owned(),
        decisions: watch::channel(None).0,
        metrics: Arc::default(),
    }
}

#[test]
fn when_traffic_has_shifted_a_refitted_model_takes_over_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    write_shifting_log(folder.path(), 40, 220, 5);
    let location = Location::Folder(folder.path().to_owned());
    // Trained on traffic as it was before.
    let aliased = TrainingOptions { also_for: vec!["alias".to_owned()], ..TrainingOptions::for_test() };
    let bytes = train(ModelKind::Logistic, &dataset(150, 9), &aliased, &mut |_| {}).unwrap();
    let old = Artifact::parse(&bytes).unwrap();
    let requests = TrialRequests::load(&location).unwrap();
    let candidates = requests.refit(&[ModelKind::Logistic], Some(&old), &TrainingOptions::for_test()).unwrap();
    let found = requests.judge(&incumbent(folder.path(), Some(old.clone())), candidates.clone()).unwrap();
    assert!(found.is_better() && found.candidate_mae < 0.8 * found.serving_mae, "{found:?}");
    assert_eq!((found.requests > 40, found.serving.contains(&old.start.digest)), (true, true));

    let (decision, artifact) = retrainer(&location).decide(260, "logistic".to_owned(), Ok(found));
    let artifact = artifact.unwrap();
    assert!(decision.swapped && decision.candidate_mae < decision.serving_mae, "{decision:?}");
    let all = Decision::all(&location).unwrap();
    assert_eq!(all, [decision]);
    let name = decision::last_swap(&all, "prior/1").unwrap();
    assert_eq!(Artifact::load(&location.beside(name)).unwrap().start.digest, artifact.start.digest);
    assert_eq!(decision::last_swap(&all, "survival/1+aa"), None, "whoever starts with another model means that one");
    assert_eq!(artifacts(&location).unwrap().len(), 1);
    let card = artifact.card.unwrap();
    assert_eq!((card.command.as_str(), card.requests > 200), ("train", true));
    assert!(card.trained_for == "synthetic" && card.also_for == ["alias"], "{card:?}");

    // Nothing is gained by doing it again.
    let swapped_in = artifacts(&location).unwrap().remove(0);
    let again = requests.judge(&incumbent(folder.path(), Some(swapped_in)), candidates).unwrap();
    assert!(!again.is_better(), "{again:?}");
    let (decision, artifact) = retrainer(&location).decide(520, String::new(), Ok(again));
    assert!(artifact.is_none() && !decision.swapped && decision.reason.contains("not better"), "{decision:?}");
    assert_eq!(decision::last_swap(&Decision::all(&location).unwrap(), "prior/1"), Some(name));
}

#[test]
fn too_few_requests_are_told_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 60, 5);
    let location = Location::Folder(folder.path().to_owned());
    let tried = trial(&location, &incumbent(folder.path(), None), &TrainingOptions::for_test());
    let (decision, artifact) = retrainer(&location).decide(60, "prior/1".to_owned(), tried);
    assert!(artifact.is_none() && decision.candidate.is_empty(), "{decision:?}");
    assert!(decision.reason.contains("at least 40 are needed"), "{decision:?}");
}

#[test]
fn a_torn_decision_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::Folder(folder.path().to_owned());
    let (decision, _) = retrainer(&location).decide(1, "prior/1".to_owned(), Err(anyhow::anyhow!("no")));
    let path = location.beside("retrainings.jsonl");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"timestamp\":1").unwrap();
    decision.append(&location).unwrap();
    assert_eq!(Decision::all(&location).unwrap(), [decision.clone(), decision]);
}

#[test]
fn the_model_that_serves_is_judged_as_it_was_before_the_requests_it_is_judged_on() {
    let mut history = History::default();
    (1..=12_000).for_each(|length| history.push(Outcome::new(length, false)));
    let before = trial::before(&history, 9_001);
    assert_eq!((before.seen, before.recent.len(), before.recent.back().unwrap().length), (9_000, 7_000, 9_000));
    assert_eq!(trial::before(&history, 20_000).seen, 12_000);
}

#[test]
fn the_thread_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (tracker, lines) =
        crate::tracker::Tracker::new(ModelKind::Prior, None, Default::default(), std::time::Instant::now());
    let pipeline = Pipeline::start(tracker, lines, None, Duration::from_secs(1), Arc::default()).unwrap();
    let stop = CancellationToken::new();
    retrainer(&Location::Folder(folder.path().to_owned())).start(pipeline.clone(), stop.clone()).unwrap();
    stop.cancel();
    while Arc::strong_count(&pipeline) > 1 {
        std::thread::sleep(LOOK / 10);
    }
    pipeline.stop();
}
