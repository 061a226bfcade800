use std::collections::{BTreeMap, BTreeSet};

use super::*;
use eoscast_proto::domain::{FinishReason, RequestId, RequestStarted, StepEvent, StepSignals};

fn outbox() -> Outbox {
    Outbox::new(WorkerRun { worker_id: "w".to_owned().try_into().unwrap(), epoch: 1 })
}

fn id(name: &str) -> RequestId {
    name.to_owned().try_into().unwrap()
}

fn start(name: &str) -> StepReport {
    let started = RequestStarted {
        request_id: id(name),
        model: "m".into(),
        eos_token_ids: vec![2],
        prompt_length: 3,
        max_tokens: 9,
        temperature: 1.0,
        task: None,
        output_length: 0,
        ignore_eos: false,
        target_tokens: None,
        prompt: None,
    };
    StepReport { started: vec![started], ..Default::default() }
}

fn step(name: &str, step: u32, finish_reason: Option<FinishReason>) -> StepReport {
    let (request_id, signals, sketch) = (id(name), StepSignals::for_test(), [].into());
    let event = StepEvent { request_id, step, token_id: 5, signals, finish_reason, eos_bias: 0.0, sketch };
    StepReport { events: vec![event], ..Default::default() }
}

fn sent(outbox: &mut Outbox) -> Vec<StepBatch> {
    std::iter::from_fn(|| outbox.next_to_send()).collect()
}

fn numbers(batches: &[StepBatch]) -> Vec<u64> {
    batches.iter().map(|batch| batch.sequence_number).collect()
}

#[test]
fn batches_go_out_once_and_in_order() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    outbox.push(step("a", 1, None), 1);
    assert_eq!(numbers(&sent(&mut outbox)), [1, 2]);
    assert!(sent(&mut outbox).is_empty());
}

#[test]
fn steps_that_decide_nothing_go_out_together_and_others_at_once() {
    let mut outbox = outbox();
    assert!(outbox.push(start("a"), 0), "an arrival wants its forecast");
    sent(&mut outbox);
    let due: Vec<bool> = (1..=STEPS_PER_WAKE as u32).map(|n| outbox.push(step("a", n, None), 0)).collect();
    assert_eq!(due, [[false; STEPS_PER_WAKE - 1].as_slice(), &[true]].concat());
    sent(&mut outbox);
    let load = EngineLoad { waiting_requests: 1, ..Default::default() };
    assert!(outbox.push(StepReport { load, ..step("a", 9, None) }, 0), "somebody waits");
    sent(&mut outbox);
    assert!(outbox.push(step("a", 10, Some(FinishReason::Stop)), 0), "the last step, after which none may come");
}

#[test]
fn a_new_connection_gets_what_is_unacknowledged_and_hears_of_live_requests() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    outbox.push(start("b"), 0);
    for n in 1..=3 {
        outbox.push(step("a", n, None), 0);
    }
    outbox.push(step("b", 1, Some(FinishReason::Stop)), 0);
    sent(&mut outbox);
    outbox.on_acknowledged(3).unwrap();
    outbox.on_connected();
    let again = sent(&mut outbox);
    assert_eq!(numbers(&again), [4, 5, 6]);
    let announced: Vec<_> = again[0].started.iter().map(|s| (s.request_id.as_str(), s.output_length)).collect();
    assert_eq!(announced, [("a", 1), ("b", 0)]);
    assert!(again[1].started.is_empty());
}

#[test]
fn a_request_whose_end_is_acknowledged_is_not_announced_again() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    outbox.push(step("a", 1, Some(FinishReason::Stop)), 0);
    sent(&mut outbox);
    outbox.on_acknowledged(2).unwrap();
    outbox.on_connected();
    outbox.push(start("b"), 0);
    let batches = sent(&mut outbox);
    assert_eq!(batches[0].started.len(), 1);
    assert_eq!(batches[0].started[0].request_id, id("b"));
}

#[test]
fn an_overflow_loses_steps_but_no_start_and_no_end() {
    let mut outbox = outbox();
    outbox.push(start("ended-early"), 0);
    outbox.push(step("ended-early", 1, Some(FinishReason::Stop)), 0);
    outbox.push(start("a"), 0);
    outbox.push(step("a", 1, None), 0);
    for _ in 0..MAX_QUEUED_BATCHES {
        outbox.push(step("b", 1, None), 0);
    }
    let (newest, _, dropped) = outbox.progress();
    assert_eq!((newest, dropped), (4 + MAX_QUEUED_BATCHES as u64, 4));
    let first = outbox.next_to_send().unwrap();
    assert_eq!(first.sequence_number, 5);
    assert_eq!(first.started.len(), 1);
    assert_eq!((first.started[0].request_id.as_str(), first.started[0].output_length), ("a", 1));
    assert!(first.ended.is_empty());
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut outbox = outbox();
    for n in 1..=MAX_UNACKNOWLEDGED_BATCHES as u32 + 5 {
        outbox.push(step("a", n, None), 0);
    }
    assert_eq!(sent(&mut outbox).len(), MAX_UNACKNOWLEDGED_BATCHES);
    outbox.on_acknowledged(2).unwrap();
    assert_eq!(
        numbers(&sent(&mut outbox)),
        [MAX_UNACKNOWLEDGED_BATCHES as u64 + 1, MAX_UNACKNOWLEDGED_BATCHES as u64 + 2]
    );
}

/// A request with the longest prompt there is.
fn long_start(name: &str) -> StepReport {
    let mut report = start(name);
    report.started[0].prompt = Some("\u{20ac}".repeat(16_384));
    report
}

fn assert_within_limits(batches: &[StepBatch]) {
    for batch in batches {
        assert!(batch.wire_bytes() <= StepBatch::MOST_BYTES, "{} bytes", batch.wire_bytes());
        let most = batch.started.len().max(batch.events.len()).max(batch.ended.len());
        assert!(most <= StepBatch::MOST_ENTRIES, "{most} entries");
    }
}

/// Steps at once, each the first of its request.
fn first_steps(names: impl Iterator<Item = String>) -> StepReport {
    StepReport { events: names.flat_map(|name| step(&name, 1, None).events).collect(), ..Default::default() }
}

#[test]
fn announcements_that_one_message_cannot_hold_go_out_in_several_with_their_prompts() {
    let mut outbox = outbox();
    for n in 0..300 {
        outbox.push(long_start(&format!("r{n}")), 0);
    }
    sent(&mut outbox);
    outbox.on_acknowledged(300).unwrap();
    outbox.on_connected();
    let batches = sent(&mut outbox);
    assert_within_limits(&batches);
    assert_eq!(numbers(&batches), (301..301 + batches.len() as u64).collect::<Vec<_>>());
    let announced: Vec<_> = batches.iter().flat_map(|batch| &batch.started).collect();
    assert!(announced.iter().all(|started| started.prompt.is_some()));
    assert_eq!(announced.iter().map(|started| &started.request_id).collect::<BTreeSet<_>>().len(), 300);
    assert_eq!(announced.len(), 300, "each once");
    // What announced them is resent like any other batch, with the announcements of the next connection.
    outbox.on_connected();
    let again = sent(&mut outbox);
    assert_eq!(numbers(&again), numbers(&batches));
    assert_eq!(again.iter().map(|batch| batch.started.len()).sum::<usize>(), 300);
}

#[test]
fn requests_are_announced_before_their_steps_if_need_be_without_their_prompts() {
    let mut outbox = outbox();
    let names = || (0..1_500).map(|n| format!("r{n}"));
    for name in names() {
        outbox.push(long_start(&name), 0);
    }
    while !sent(&mut outbox).is_empty() {
        outbox.on_acknowledged(outbox.progress().0).unwrap();
    }
    outbox.push(first_steps(names()), 0);
    outbox.on_connected();
    let batches = sent(&mut outbox);
    assert_within_limits(&batches);
    let mut known = BTreeSet::new();
    for batch in &batches {
        known.extend(batch.started.iter().map(|started| started.request_id.clone()));
        assert!(batch.events.iter().all(|event| known.contains(&event.request_id)), "a step of an unknown request");
    }
    let first = &batches[0];
    assert_eq!((first.events.len(), known.len()), (1_500, 1_500));
    let with_prompt = first.started.iter().filter(|started| started.prompt.is_some()).count();
    assert!((20..1_500).contains(&with_prompt), "{with_prompt}");
}

#[test]
fn a_step_with_more_than_a_message_holds_is_told_in_several() {
    let mut outbox = outbox();
    let names = || (0..7_000).map(|n| format!("r{n}"));
    outbox
        .push(StepReport { started: names().flat_map(|name| start(&name).started).collect(), ..Default::default() }, 0);
    outbox.push(first_steps(names()), 0);
    let batches = sent(&mut outbox);
    assert_within_limits(&batches);
    assert_eq!(numbers(&batches), (1..=batches.len() as u64).collect::<Vec<_>>());
    assert_eq!(batches.iter().map(|batch| batch.events.len()).sum::<usize>(), 7_000);
}

#[test]
fn an_outage_under_many_requests_leaves_batches_within_the_limits_and_every_end() {
    let mut outbox = outbox();
    // Told before the outage.
    let told: Vec<String> = (0..6_000).map(|n| format!("told{n}")).collect();
    for name in &told {
        outbox.push(start(name), 0);
    }
    while !sent(&mut outbox).is_empty() {
        outbox.on_acknowledged(outbox.progress().0).unwrap();
    }
    for name in &told {
        outbox.push(step(name, 1, Some(FinishReason::Stop)), 0);
    }
    outbox.push(start("live-early"), 0);
    // Begun and ended while the predictor is away.
    for n in 0..6_000 {
        outbox.push(start(&format!("r{n}")), 0);
        outbox.push(step(&format!("r{n}"), 1, Some(FinishReason::Stop)), 0);
    }
    outbox.push(start("live"), 0);
    outbox.on_connected();
    let mut batches = vec![];
    loop {
        let next = sent(&mut outbox);
        let Some(last) = next.last() else { break };
        outbox.on_acknowledged(last.sequence_number).unwrap();
        batches.extend(next);
    }
    assert_within_limits(&batches);
    assert!(batches.len() <= MAX_QUEUED_BATCHES, "{}", batches.len());
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for batch in &batches {
        let finished = batch.events.iter().filter(|event| event.finish_reason.is_some()).map(|event| &event.request_id);
        for id in finished.chain(batch.ended.iter().map(|ended| &ended.request_id)) {
            *ends.entry(id.as_str()).or_default() += 1;
        }
    }
    assert!(told.iter().all(|name| ends.get(name.as_str()) == Some(&1)), "each request that was told of ends once");
    for live in ["live-early", "live"] {
        assert!(
            batches.iter().flat_map(|batch| &batch.started).any(|started| started.request_id == id(live)),
            "{live}"
        );
    }
}

#[test]
fn a_request_whose_end_may_have_arrived_is_not_announced_again_when_the_end_moves() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    outbox.push(start("live"), 0);
    sent(&mut outbox);
    outbox.on_acknowledged(2).unwrap();
    outbox.push(step("a", 1, Some(FinishReason::Stop)), 0);
    assert_eq!(sent(&mut outbox).len(), 1);
    // The acknowledgement does not arrive, and the end moves on with the oldest batch.
    for n in 1..=MAX_QUEUED_BATCHES as u32 {
        outbox.push(step("live", n, None), 0);
    }
    outbox.on_connected();
    let batches = sent(&mut outbox);
    let started: Vec<&str> =
        batches.iter().flat_map(|batch| &batch.started).map(|one| one.request_id.as_str()).collect();
    let ended: Vec<&str> = batches.iter().flat_map(|batch| &batch.ended).map(|one| one.request_id.as_str()).collect();
    assert_eq!((started, ended), (vec!["live"], vec!["a"]));
}

#[test]
fn a_predictor_that_never_acknowledges_gets_another_run_when_the_ends_alone_are_too_many() {
    let mut outbox = outbox();
    outbox.push(start("live"), 0);
    let ends_a_batch = MAX_MOVED_ENDS + 1;
    let names: Vec<String> = (0..120 * ends_a_batch).map(|n| format!("r{n}")).collect();
    for _ in 0..36 {
        for names in names.chunks(1_000) {
            let started = names.iter().flat_map(|name| start(name).started).collect();
            outbox.push(StepReport { started, ..Default::default() }, 0);
        }
        for n in 1..=MAX_QUEUED_BATCHES as u32 {
            outbox.push(step("live", n, None), 0);
        }
        // Each connection announces the requests, and breaks.
        outbox.on_connected();
        sent(&mut outbox);
        for names in names.chunks(ends_a_batch) {
            let ended = |name: &String| RequestEnded {
                request_id: id(name),
                finish_reason: FinishReason::Stop,
                output_length: 1,
            };
            outbox.push(StepReport { ended: names.iter().map(ended).collect(), ..Default::default() }, 0);
        }
        assert!(outbox.queue.len() <= MAX_QUEUED_BATCHES, "{}", outbox.queue.len());
    }
    assert!(outbox.run.epoch > 1);
    outbox.on_connected();
    let first = outbox.next_to_send().unwrap();
    assert_eq!(first.run.epoch, outbox.run.epoch);
    assert!(first.started.iter().any(|started| started.request_id == id("live")), "the new run has it, too");
}

#[test]
fn what_waits_for_an_absent_predictor_is_bounded_in_bytes() {
    let mut outbox = outbox();
    for n in 0..4_000 {
        outbox.push(long_start(&format!("r{n}")), 0);
    }
    assert!(outbox.bytes <= MAX_QUEUED_BYTES, "{}", outbox.bytes);
    assert_eq!(outbox.bytes, outbox.queue.iter().map(|queued| queued.batch.wire_bytes()).sum::<usize>());
    outbox.on_connected();
    let mut announced = BTreeSet::new();
    loop {
        let next = sent(&mut outbox);
        assert_within_limits(&next);
        announced.extend(next.iter().flat_map(|batch| &batch.started).map(|started| started.request_id.clone()));
        let Some(last) = next.last() else { break };
        outbox.on_acknowledged(last.sequence_number).unwrap();
    }
    assert_eq!(announced.len(), 4_000);
}

#[test]
fn requests_beyond_the_most_that_a_worker_may_have_live_are_not_told_of() {
    let mut outbox = outbox();
    for n in 0..StepBatch::MOST_LIVE + 1 {
        outbox.push(start(&format!("r{n}")), 0);
    }
    let beyond = format!("r{}", StepBatch::MOST_LIVE);
    outbox.push(step(&beyond, 1, Some(FinishReason::Stop)), 0);
    outbox.push(step("r0", 1, Some(FinishReason::Stop)), 0);
    outbox.push(start("next"), 0);
    outbox.on_connected();
    let mut told = BTreeSet::new();
    loop {
        let next = sent(&mut outbox);
        told.extend(next.iter().flat_map(|batch| &batch.started).map(|started| started.request_id.clone()));
        told.extend(next.iter().flat_map(|batch| &batch.events).map(|event| event.request_id.clone()));
        let Some(last) = next.last() else { break };
        outbox.on_acknowledged(last.sequence_number).unwrap();
    }
    assert!(!told.contains(&id(&beyond)) && told.contains(&id("next")) && told.contains(&id("r1")));
}

#[test]
fn another_epoch_goes_on_with_everything_unacknowledged_and_announces_the_live_requests() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    sent(&mut outbox);
    outbox.on_acknowledged(1).unwrap();
    outbox.push(step("a", 1, None), 0);
    outbox.take_epoch(7);
    outbox.push(step("a", 2, None), 0);
    outbox.on_connected();
    let batches = sent(&mut outbox);
    let epochs: Vec<_> = batches.iter().map(|batch| (batch.run.epoch, batch.sequence_number)).collect();
    assert_eq!(epochs, [(7, 2), (7, 3)]);
    assert_eq!(batches[0].started[0].request_id, id("a"));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_forgets_nothing_and_asks_for_another_epoch() {
    let mut outbox = outbox();
    outbox.push(start("a"), 0);
    sent(&mut outbox);
    assert_eq!(outbox.on_acknowledged(1_000_000_000), Err(2));
    assert!(!outbox.is_empty());
}
