use eoscast_log::request::LoggedRequest;
use eoscast_proto::domain::{END_WITHIN, Forecast, QUANTILE_LEVELS, RequestStarted, WorkerRun};

use super::*;

const MAX_TOKENS: u32 = 400;

/// A forecast that is uniform from 0 to `longest`.
fn forecast(version: &str, longest: f32) -> ModelForecast {
    ModelForecast {
        source: "test".into(),
        model_version: version.into(),
        remaining: Forecast {
            mean: longest / 2.0,
            quantiles: QUANTILE_LEVELS.map(|level| level * longest),
            end_within: [0.0; END_WITHIN.len()],
        },
    }
}

fn finished(length: u32, task: &str, reason: FinishReason, edit: impl Fn(&mut RequestStarted)) -> RequestLine {
    let mut started = RequestStarted {
        max_tokens: MAX_TOKENS,
        task: Some(task.to_owned()).filter(|task| !task.is_empty()),
        ..RequestStarted::for_test("a")
    };
    edit(&mut started);
    LoggedRequest::new(started, WorkerRun::for_test("w"), 0.0).request_line(reason, length, 1.0, None)
}

/// What was sent of a reply of `length` tokens, where `says` gives the version and the longest length after each step.
fn watched(length: u32, chance: u32, says: impl Fn(u32) -> (&'static str, f32)) -> Watched {
    let mut watched = Watched::default();
    for step in 0..length {
        let (version, longest) = says(step);
        watched.consider(
            step,
            MAX_TOKENS,
            chance.wrapping_mul(0x9E37_79B1) ^ step,
            &forecast(version, longest),
            || 90.0,
        );
    }
    watched
}

fn stop(length: u32, task: &str) -> RequestLine {
    finished(length, task, FinishReason::Stop, |_| {})
}

#[test]
fn errors_and_coverage_are_those_of_what_was_sent() {
    let mut accuracy = Accuracy::default();
    // After no token: median 50, mean 50, 90 % within 1 to 90; 100 come.
    accuracy.observe(&watched(1, 0, |_| ("m/1:4", 100.0)), &stop(100, ""));
    let [all] = &accuracy.report()[..] else { panic!("one model, no task") };
    assert_eq!((all.model.as_str(), &all.task, all.requests), ("m/1", &None, 1));
    assert_eq!((all.mae, all.bias, all.prior_mae, all.error_to_prior()), (50.0, -50.0, 10.0, 5.0));
    assert_eq!(all.coverage90[0], AgeCoverage { requests: 1, share: 0.0 });
    accuracy.observe(&watched(1, 0, |_| ("m/1:5", 100.0)), &stop(70, ""));
    let all = &accuracy.report()[0];
    assert_eq!((all.mae, all.bias, all.requests), (35.0, -35.0, 2));
    assert_eq!(all.coverage90[0], AgeCoverage { requests: 2, share: 0.5 });
    assert_eq!(all.coverage90[1].requests, 0);
}

#[test]
fn one_forecast_of_each_age_stands_for_all_steps_of_it() {
    // The truth after t tokens is 300 - t; so is the median, but for the last age, where it is 40 more.
    let exact = |step: u32| ("m/1:0", 2.0 * (300 - step) as f32 + if step >= 256 { 80.0 } else { 0.0 });
    let mut accuracy = Accuracy::default();
    for chance in 0..200 {
        accuracy.observe(&watched(300, chance, exact), &stop(300, ""));
    }
    let all = &accuracy.report()[0];
    assert!((all.mae - 40.0 * 44.0 / 300.0).abs() < 1e-3, "{}", all.mae);
    assert!(all.coverage90.iter().all(|age| age.requests == 200), "{:?}", all.coverage90);
}

#[test]
fn forecasts_before_and_after_a_swap_count_for_the_model_that_made_them() {
    let mut accuracy = Accuracy::default();
    let says = |step| if step < 64 { ("old/1+aa:3", 400.0) } else { ("new/1+bb:3", 200.0) };
    accuracy.observe(&watched(100, 1, says), &stop(100, "chat"));
    let found: Vec<_> = accuracy.report().iter().map(|one| (one.model.clone(), one.task.is_some())).collect();
    let expected = ["new/1+bb", "old/1+aa"].map(|model| [(model.to_owned(), false), (model.to_owned(), true)]);
    assert_eq!(found, expected.concat());
    let old = &accuracy.report()[2];
    assert_eq!(old.coverage90.map(|age| age.requests), [1, 1, 0, 0, 0]);
}

#[test]
fn replies_that_say_nothing_of_forecasts_are_passed_over() {
    let mut accuracy = Accuracy::default();
    let sent = watched(10, 0, |_| ("m/1:0", 100.0));
    for line in [
        finished(10, "", FinishReason::Abort, |_| {}),
        finished(10, "", FinishReason::Error, |_| {}),
        finished(10, "", FinishReason::Length, |_| {}),
        finished(10, "", FinishReason::Stop, |started| started.ignore_eos = true),
    ] {
        accuracy.observe(&sent, &line);
    }
    let steered = RequestLine { steered_from: Some(3), ..stop(10, "") };
    accuracy.observe(&sent, &steered);
    assert_eq!((accuracy.report(), accuracy.outcomes()), (vec![], 0));
    let cut = finished(MAX_TOKENS, "", FinishReason::Length, |_| {});
    accuracy.observe(&sent, &cut);
    assert_eq!(accuracy.report()[0].requests, 1, "a reply at its limit has a known service length");
}

#[test]
fn the_window_slides_and_whatever_finishes_memory_is_bounded() {
    let mut accuracy = Accuracy::default();
    for i in 0..3 * WINDOW as u32 {
        let length = if i < 2 * WINDOW as u32 { 300 } else { 50 };
        accuracy.observe(&watched(1, i, |_| ("m/1:0", 100.0)), &stop(length, &format!("task-{i}")));
    }
    accuracy.observe(&watched(1, 0, |_| ("m/1:0", 100.0)), &stop(50, "again"));
    let report = accuracy.report();
    assert_eq!(report.len(), MOST_PAIRS);
    assert_eq!((report[0].task.as_ref(), report[0].requests, report[0].mae), (None, WINDOW as u32, 0.0));
    assert!(report.iter().any(|one| one.task.as_deref() == Some("again")));
    assert!(!report.iter().any(|one| one.task.as_deref() == Some("task-7")));
}
