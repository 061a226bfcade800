use eoscast_proto::domain::{
    FinishReason, LengthEstimate, RequestEnded, RequestId, RequestStarted, StepEvent, StepSignals,
};

use super::accept::{MOST_LIVE, MOST_LIVE_OF_WORKER};
use super::changes::MOST_NOTED;
use super::*;
use eoscast_forecast::features::FeatureState;
use eoscast_log::prompt::PromptFeatures;
use eoscast_log::record::{Arrival, StepLine};

fn started(name: &str) -> RequestStarted {
    RequestStarted {
        eos_token_ids: vec![2, 0],
        task: Some("chat".into()),
        prompt: Some("Why?".into()),
        ..RequestStarted::for_test(name)
    }
}

fn event(name: &str, step: u32) -> StepEvent {
    let noise = (step.wrapping_mul(2_654_435_761) % 1000) as f32 / 100.0;
    StepEvent {
        step,
        token_id: step,
        signals: StepSignals {
            eos_logprob: -0.01 - noise,
            eos_logprob_sampled: f32::NEG_INFINITY,
            token_logprob: -0.5,
            entropy: noise / 3.0,
            top_logprob: -0.5,
            eos_rank: 3,
            sentence_end_logprob: Some(-1.0),
            newline_logprob: None,
        },
        sketch: [noise, 0.5].into(),
        ..StepEvent::for_test(name)
    }
}

fn last(name: &str, step: u32) -> StepEvent {
    StepEvent { finish_reason: Some(FinishReason::Stop), ..event(name, step) }
}

fn batch(sequence_number: u64, started: Vec<RequestStarted>, events: Vec<StepEvent>) -> StepBatch {
    StepBatch {
        sequence_number,
        timestamp_micros: 1_700_000_000_000_000 + sequence_number as i64,
        started,
        events,
        ..StepBatch::for_test("w")
    }
}

fn tracker() -> Tracker {
    Tracker::new(ModelKind::Prior, None, Recovered::default(), Instant::now()).0
}

fn apply(tracker: &mut Tracker, batch: &StepBatch) -> Applied {
    tracker.apply(batch, 1).unwrap()
}

fn steps_of(estimates: &[LengthEstimate]) -> Vec<u32> {
    estimates.iter().map(|estimate| estimate.step).collect()
}

#[test]
fn a_request_has_an_estimate_on_arrival_and_at_each_step_but_the_last() {
    let mut tracker = tracker();
    let first = apply(&mut tracker, &batch(1, vec![started("a")], vec![event("a", 1)]));
    assert_eq!((steps_of(&first.estimates), first.acknowledged), (vec![0, 1], 1));
    let second = apply(&mut tracker, &batch(2, vec![], vec![last("a", 2)]));
    assert_eq!(steps_of(&second.estimates), Vec::<u32>::new());
    let line = &second.lines.requests[0];
    assert_eq!((line.output_length, line.censored, line.outcome_number), (2, false, 1));
    assert_eq!(line.first_estimate, first.lines.starts[0].estimate);
    assert_eq!(tracker.live_requests(), 0);
}

#[test]
fn all_estimates_of_a_message_come_from_one_state_of_the_model() {
    let mut tracker = tracker();
    let applied = apply(&mut tracker, &batch(1, vec![started("a"), started("b")], vec![last("a", 1), event("b", 1)]));
    assert!(applied.estimates.iter().all(|estimate| &*estimate.forecast.model_version == "prior/1:0"));
    let next = apply(&mut tracker, &batch(2, vec![], vec![event("b", 2)]));
    assert_eq!(&*next.estimates[0].forecast.model_version, "prior/1:1");
}

#[test]
fn a_message_seen_before_changes_nothing_and_is_answered_with_what_holds_now() {
    let mut tracker = tracker();
    let first = batch(1, vec![started("a")], vec![event("a", 1)]);
    apply(&mut tracker, &first);
    apply(&mut tracker, &batch(2, vec![], vec![event("a", 2)]));
    let again = apply(&mut tracker, &first);
    assert!(again.lines.is_empty());
    assert_eq!((again.acknowledged, again.tally.duplicate_messages), (2, 1));
    assert_eq!(steps_of(&again.estimates), [2, 2]);
}

#[test]
fn announcing_a_request_again_does_not_reset_it() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(1, vec![started("a")], vec![event("a", 1), event("a", 2)]));
    let again = RequestStarted { output_length: 2, ..started("a") };
    let applied = apply(&mut tracker, &batch(2, vec![again], vec![event("a", 3)]));
    assert!(applied.lines.starts.is_empty());
    assert_eq!(applied.lines.steps[0].observed, 3);
}

#[test]
fn a_request_first_heard_of_in_mid_reply_is_followed_from_there() {
    let mut tracker = tracker();
    let late = RequestStarted { output_length: 50, ..started("a") };
    let applied = apply(&mut tracker, &batch(1, vec![late], vec![event("a", 51)]));
    assert_eq!(steps_of(&applied.estimates), [50, 51]);
    assert_eq!((applied.lines.steps[0].step, applied.lines.steps[0].observed), (51, 1));
    assert!(applied.estimates[1].forecast.remaining.quantiles[12] <= 49.0);
}

#[test]
fn gaps_repeats_and_strangers_are_counted_and_tolerated() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(1, vec![started("a")], vec![event("a", 1)]));
    let applied = apply(&mut tracker, &batch(4, vec![], vec![event("a", 5), event("a", 5), event("x", 1)]));
    let expected =
        Tally { missing_messages: 2, step_gaps: 1, duplicate_steps: 1, unknown_requests: 1, ..Tally::default() };
    assert_eq!(applied.tally, expected);
    assert_eq!(applied.lines.steps.iter().map(|line| line.step).collect::<Vec<_>>(), [5]);
}

#[test]
fn steps_of_one_request_in_one_message_count_one_by_one_up_to_its_end() {
    let mut tracker = tracker();
    let events =
        vec![event("a", 1), event("b", 1), event("a", 2), last("b", 2), event("b", 3), event("a", 2), event("a", 3)];
    let applied = apply(&mut tracker, &batch(1, vec![started("a"), started("b")], events));
    let lines = applied.lines.steps.iter().map(|line| (line.request_id.as_str(), line.step));
    assert_eq!(lines.collect::<Vec<_>>(), [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]);
    assert_eq!(steps_of(&applied.estimates), [0, 0, 1, 1, 2, 3]);
    assert_eq!((applied.tally.unknown_requests, applied.tally.duplicate_steps), (1, 1));
    assert_eq!(applied.lines.requests.len(), 1);
    assert_eq!(tracker.live_requests(), 1);
}

#[test]
fn a_newer_run_of_a_worker_ends_the_requests_of_the_older_one() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(9, vec![started("a")], vec![event("a", 1)]));
    let mut newer = batch(1, vec![started("a")], vec![]);
    newer.run.epoch = 2;
    let applied = tracker.apply(&newer, 2).unwrap();
    let line = &applied.lines.requests[0];
    assert_eq!((line.finish_reason, line.censored, line.epoch), (FinishReason::Abort, true, 1));
    assert_eq!((applied.superseded, applied.acknowledged), (Some(1), 1));
    assert!(matches!(tracker.apply(&batch(10, vec![], vec![]), 3), Err(ServiceError::EpochOver { next_epoch: 3, .. })));
}

#[test]
fn requests_of_a_worker_that_has_gone_end_after_the_timeout() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(1, vec![started("a")], vec![event("a", 1)]));
    let (now, timeout) = (Instant::now(), Duration::from_secs(60));
    tracker.disconnect(1, now);
    assert!(tracker.expire(now + Duration::from_secs(59), timeout, 0.0).is_empty());
    let lines = tracker.expire(now + timeout, timeout, 0.0);
    assert_eq!(lines.requests[0].finish_reason, FinishReason::Abort);
    assert!(lines.requests[0].timestamp >= lines.requests[0].started_at);
    assert!(tracker.expire(now + timeout, timeout, 0.0).is_empty());
}

#[test]
fn replies_that_cannot_end_by_themselves_count_as_censored() {
    let mut tracker = tracker();
    let endless = RequestStarted { ignore_eos: true, ..started("a") };
    let applied = apply(&mut tracker, &batch(1, vec![endless], vec![last("a", 1)]));
    assert!(applied.lines.requests[0].censored);
}

#[test]
fn a_steered_reply_counts_as_censored_where_the_steering_began() {
    let mut tracker = tracker();
    let controlled = RequestStarted { target_tokens: Some(4), ..started("a") };
    let steered = |event: StepEvent| StepEvent { eos_bias: 1.5, ..event };
    let events = vec![event("a", 1), event("a", 2), steered(event("a", 3)), steered(last("a", 4))];
    let applied = apply(&mut tracker, &batch(1, vec![controlled], events));
    let line = &applied.lines.requests[0];
    assert_eq!((line.finish_reason, line.output_length, line.steered_from), (FinishReason::Stop, 4, Some(3)));
    assert_eq!(line.outcome(), eoscast_log::record::Outcome::new(2, true));
    assert_eq!(applied.lines.steps.iter().map(|line| line.eos_bias).collect::<Vec<_>>(), [0.0, 0.0, 1.5, 1.5]);
}

#[test]
fn a_controlled_reply_that_ends_before_it_is_steered_is_a_natural_one() {
    let mut tracker = tracker();
    let controlled = RequestStarted { target_tokens: Some(40), ..started("a") };
    let applied = apply(&mut tracker, &batch(1, vec![controlled], vec![event("a", 1), last("a", 2)]));
    assert_eq!(applied.lines.requests[0].outcome(), eoscast_log::record::Outcome::new(2, false));
}

fn of_worker(name: &str, batch: StepBatch) -> StepBatch {
    let run = eoscast_proto::domain::WorkerRun { worker_id: WorkerId::for_test(name), ..batch.run };
    StepBatch { run, ..batch }
}

fn flood(count: usize) -> Vec<RequestStarted> {
    (0..count).map(|i| started(&format!("flood-{i}"))).collect()
}

#[test]
fn one_worker_cannot_take_the_places_of_all_and_what_it_has_goes_on() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(1, flood(MOST_LIVE_OF_WORKER), vec![]));
    let refused = tracker.apply(&batch(2, vec![started("one-more")], vec![]), 1);
    assert!(matches!(refused, Err(ServiceError::ResourceExhausted { .. })));
    assert_eq!(tracker.live_requests(), MOST_LIVE_OF_WORKER, "a message is refused as a whole");
    // Announced again: none of these is new.
    assert!(tracker.apply(&batch(2, flood(4_096), vec![event("flood-1", 1)]), 1).is_ok());
    assert!(tracker.apply(&of_worker("v", batch(1, vec![started("a")], vec![event("a", 1)])), 2).is_ok());
}

#[test]
fn many_workers_with_many_requests_leave_places_to_those_with_few() {
    let mut tracker = tracker();
    let mut refused = None;
    for stream in 1.. {
        let worker = of_worker(&format!("w{stream}"), batch(1, flood(StepBatch::MOST_LIVE), vec![]));
        if let Err(error) = tracker.apply(&worker, stream) {
            refused = Some((stream, error));
            break;
        }
    }
    let (stream, error) = refused.unwrap();
    assert!(matches!(error, ServiceError::ResourceExhausted { .. }) && stream == 7, "{stream}: {error}");
    assert!(tracker.apply(&of_worker("few", batch(1, flood(100), vec![])), 100).is_ok());
    // A worker that has gone makes room for one that is there.
    tracker.disconnect(3, Instant::now());
    let applied = tracker.apply(&of_worker("w7", batch(1, flood(8_000), vec![])), 7).unwrap();
    assert_eq!(applied.lines.requests.len(), StepBatch::MOST_LIVE);
    assert!(tracker.live_requests() <= MOST_LIVE);
}

#[test]
fn a_flood_of_made_up_workers_gives_way_to_a_real_one() {
    let mut tracker = tracker();
    tracker.apply(&of_worker("busy", batch(1, vec![started("a")], vec![])), 1).unwrap();
    for i in 0..3_000u64 {
        tracker.apply(&of_worker(&format!("made-up-{i}"), batch(1, vec![], vec![])), i + 2).unwrap();
        tracker.disconnect(i + 2, Instant::now());
    }
    let applied = tracker.apply(&of_worker("busy", batch(2, vec![], vec![event("a", 1)])), 1).unwrap();
    assert_eq!(applied.estimates.len(), 1);
}

#[test]
fn forged_outcomes_leave_the_prior_where_it_was() {
    let mut tracker = tracker();
    let mut number = 0;
    for i in 0..400 {
        number += 1;
        let (name, length) = (format!("r{i}"), 20 + i % 40);
        let steps = (1..length).map(|step| event(&name, step)).chain([last(&name, length)]).collect();
        apply(&mut tracker, &batch(number, vec![started(&name)], steps));
    }
    let before = tracker.length_prior().mean;
    for i in 0..3_000u64 {
        let name = format!("forged-{i}");
        let endless = RequestStarted { max_tokens: u32::MAX, ..started(&name) };
        let end = RequestEnded {
            request_id: RequestId::for_test(&name),
            finish_reason: FinishReason::Stop,
            output_length: 1 << 20,
        };
        let message = StepBatch { ended: vec![end], ..batch(i + 1, vec![endless], vec![]) };
        let applied = tracker.apply(&of_worker("forger", message), 2).unwrap();
        assert!(!applied.lines.requests[0].is_learned());
    }
    assert_eq!((tracker.length_prior().mean, tracker.outcomes()), (before, 400));
}

#[test]
fn changes_that_nobody_takes_are_dropped_and_noted_again_with_the_next_view() {
    let mut tracker = tracker();
    tracker.note_changes(true);
    let names: Vec<_> = (0..1_024).map(|i| format!("r{i}")).collect();
    let mut number = 0;
    for _ in 0..=MOST_NOTED / names.len() {
        apply(&mut tracker, &batch(number + 1, names.iter().map(|name| started(name)).collect(), vec![]));
        apply(&mut tracker, &batch(number + 2, vec![], names.iter().map(|name| last(name, 1)).collect()));
        number += 2;
    }
    apply(&mut tracker, &batch(number + 1, vec![started("a")], vec![]));
    let noted = tracker.changes.as_ref().unwrap();
    assert_eq!((noted.changed.capacity(), noted.ended.capacity()), (0, 0));
    assert!(tracker.take_changes(1).is_none(), "the view has to begin anew");
    tracker.note_changes(true);
    apply(&mut tracker, &batch(number + 2, vec![], vec![event("a", 1)]));
    assert_eq!(tracker.take_changes(1).unwrap().changed.len(), 1);
}

#[test]
fn a_live_request_takes_little_memory() {
    assert!(size_of::<LiveRequest>() <= 3200, "{} bytes", size_of::<LiveRequest>());
}

#[test]
fn live_requests_are_listed_in_order_page_by_page() {
    let mut tracker = tracker();
    apply(&mut tracker, &batch(1, ["c", "a", "b"].map(started).to_vec(), vec![]));
    let mut other = batch(1, vec![started("a")], vec![]);
    other.run.worker_id = WorkerId::for_test("v");
    tracker.apply(&other, 2).unwrap();
    let name =
        |state: &eoscast_proto::domain::RequestState| format!("{}/{}", state.worker_id, state.started.request_id);
    let mut seen = vec![];
    let mut after = None;
    loop {
        let page = tracker.requests(None, after.as_ref(), 1);
        let Some(state) = page.last() else { break };
        seen.push(name(state));
        after = Some((state.worker_id.clone(), state.started.request_id.clone()));
    }
    assert_eq!(seen, ["v/a", "w/a", "w/b", "w/c"]);
    let of_w: Vec<_> =
        tracker.requests(Some(&batch(1, vec![], vec![]).run.worker_id), None, 9).iter().map(name).collect();
    assert_eq!(of_w, ["w/a", "w/b", "w/c"]);
    assert!(matches!(tracker.request(None, &RequestId::for_test("a")), Err(ServiceError::FailedPrecondition(_))));
}

#[test]
fn live_features_equal_those_replayed_from_the_log_bit_for_bit() {
    let mut tracker = tracker();
    let mut replayed: BTreeMap<RequestId, FeatureState> = BTreeMap::new();
    for sequence_number in 1..=150u64 {
        let step = sequence_number as u32;
        let arrivals = if step == 1 { vec![started("a"), started("b")] } else { vec![] };
        // Every seventh step of b is lost on the way.
        let mut events = vec![event("a", step)];
        events.extend((!step.is_multiple_of(7)).then(|| event("b", step)));
        let applied = apply(&mut tracker, &batch(sequence_number, arrivals, events));
        for line in applied.lines.steps {
            let text = serde_json::to_string(&line).unwrap();
            let line: StepLine = serde_json::from_str(&text).unwrap();
            let arrival = Arrival { prompt: Some(PromptFeatures::of("Why?")), ..line.arrival() };
            let state =
                replayed.entry(line.request_id.clone()).or_insert_with(|| FeatureState::new(arrival, line.step));
            let row = state.observe(&line.event().unwrap());
            let live = tracker.workers.values().next().unwrap().live[&line.request_id].as_ref().unwrap().row();
            assert_eq!(row.values.map(f32::to_bits), live.values.map(f32::to_bits), "step {step}");
        }
    }
}

#[test]
fn what_a_workers_requests_will_still_generate_is_the_sum_of_their_forecasts_until_the_worker_is_forgotten() {
    let mut tracker = tracker();
    assert_eq!(tracker.outstanding(None), None);
    let first = apply(&mut tracker, &batch(1, vec![started("a"), started("b")], vec![event("a", 1)]));
    let [_, arrival, now] = &first.estimates[..] else { panic!("two arrivals and a step: {first:?}") };
    let both = tracker.outstanding(None).unwrap();
    let expected = f64::from(now.forecast.remaining.mean) + f64::from(arrival.forecast.remaining.mean);
    assert_eq!((both.worker_id.as_str(), both.mean), ("w", expected));
    assert!(both.p90 > both.mean, "{both:?}");
    assert_eq!(tracker.outstanding(Some(&both.worker_id)), None, "there is no other worker");
    apply(&mut tracker, &batch(2, vec![], vec![last("a", 2), last("b", 1)]));
    let none = tracker.outstanding(None).unwrap();
    assert_eq!((none.mean, none.p90), (0.0, 0.0));
    let now = Instant::now();
    tracker.disconnect(1, now);
    tracker.expire(now + FORGET_WORKER, Duration::ZERO, 0.0);
    assert_eq!(tracker.outstanding(None), None);
}
