//! Steps worked out by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_sched::{
    AddError, ConfigError, RemainingLength, Request, RequestKey, Scheduler, SchedulerConfig, Stats, StepOutcome,
    StepPlan, Work, WorkDone,
};

const CONFIG: SchedulerConfig =
    SchedulerConfig { block_size: 4, num_blocks: 16, max_running: 4, max_batched_tokens: 16 };

fn scheduler(config: SchedulerConfig, policy: &str) -> Scheduler {
    Scheduler::new(config, policy.parse().unwrap()).unwrap()
}

fn request(key: RequestKey, prompt_tokens: u32, max_tokens: u32) -> Request {
    Request { key, prompt_tokens, max_tokens, priority: 0, arrival: key as f64, deadline: None }
}

/// Plans a step without forecasts, and takes `appended` tokens from each request that samples.
fn step_appending(scheduler: &mut Scheduler, appended: u32) -> StepPlan {
    let plan = scheduler.schedule(0.0, &mut |_| None);
    let done = plan.work.iter().map(|work| WorkDone {
        key: work.key,
        appended: if work.samples { appended } else { 0 },
        finished: false,
    });
    scheduler.apply(&StepOutcome { work: done.collect() });
    plan
}

fn step(scheduler: &mut Scheduler) -> StepPlan {
    step_appending(scheduler, 1)
}

fn work(key: RequestKey, start: u32, tokens: u32, samples: bool) -> Work {
    Work { key, start, tokens, samples }
}

#[test]
fn decodes_come_first_and_prefill_chunks_share_the_rest() {
    let mut scheduler = scheduler(CONFIG, "fcfs");
    scheduler.add(request(1, 10, 8)).unwrap();
    scheduler.add(request(2, 20, 8)).unwrap();
    assert_eq!(step(&mut scheduler).work, [work(1, 0, 10, true), work(2, 0, 6, false)]);
    assert_eq!(step(&mut scheduler).work, [work(1, 10, 1, true), work(2, 6, 14, true)]);
    assert_eq!(step(&mut scheduler).work, [work(1, 11, 1, true), work(2, 20, 1, true)]);
    assert_eq!(scheduler.block_table(1), [0, 1, 2]);
}

#[test]
fn the_victim_keeps_its_tokens_and_is_the_first_to_come_back() {
    let mut scheduler = scheduler(SchedulerConfig { num_blocks: 4, ..CONFIG }, "fcfs");
    for key in 1..=3 {
        scheduler.add(request(key, 6, 10)).unwrap();
    }
    // Two blocks each, until both need a third in the step that computes position 8.
    let first = step(&mut scheduler);
    assert_eq!(first.admitted, [1, 2]);
    step(&mut scheduler);
    step(&mut scheduler);
    let preempting = step(&mut scheduler);
    assert_eq!((&preempting.preempted[..], &preempting.admitted[..]), (&[2][..], &[][..]));
    assert_eq!(preempting.work, [work(1, 8, 1, true)]);
    assert_eq!((scheduler.view(2).unwrap().generated, scheduler.block_table(2).len()), (3, 0));

    // Its 9 tokens need 3 blocks: it waits, and nobody passes it, until request 1 leaves.
    assert_eq!(step(&mut scheduler).admitted, []);
    assert!(scheduler.abort(1));
    let readmitting = step(&mut scheduler);
    assert_eq!(readmitting.admitted, [2]);
    assert_eq!(readmitting.work, [work(2, 0, 9, true)]);
    let Stats { preemptions_total, recomputed_tokens_total, admitted_total, .. } = scheduler.stats();
    assert_eq!((preemptions_total, recomputed_tokens_total, admitted_total), (1, 8, 3));
}

#[test]
fn requests_that_append_several_tokens_a_step_still_make_room_for_each_other() {
    let mut scheduler =
        scheduler(SchedulerConfig { block_size: 1, num_blocks: 8, max_running: 2, max_batched_tokens: 8 }, "fcfs");
    scheduler.add(request(1, 2, 6)).unwrap();
    scheduler.add(request(2, 2, 6)).unwrap();
    step_appending(&mut scheduler, 2);
    assert_eq!(step_appending(&mut scheduler, 2).work, [work(1, 2, 2, true), work(2, 2, 2, true)]);
    let plan = step_appending(&mut scheduler, 2);
    assert_eq!((plan.preempted, plan.work), (vec![2], vec![work(1, 4, 2, true)]));
}

#[test]
fn a_more_urgent_request_goes_first() {
    let mut scheduler = scheduler(SchedulerConfig { max_running: 1, ..CONFIG }, "fcfs");
    scheduler.add(request(1, 6, 10)).unwrap();
    scheduler.add(Request { priority: -1, ..request(2, 6, 10) }).unwrap();
    assert_eq!(step(&mut scheduler).admitted, [2]);
}

#[test]
fn a_forecast_that_changes_while_requests_wait_changes_their_order() {
    let mut scheduler = scheduler(SchedulerConfig { max_running: 2, ..CONFIG }, "srpt-pred+peak(0.5)");
    for key in 1..=3 {
        scheduler.add(Request { arrival: 0.0, ..request(key, 16, 12) }).unwrap();
    }
    let mut remaining = [0, 2, 4, 8];
    let admitted = |scheduler: &mut Scheduler, remaining: [u32; 4]| {
        let forecast = |key: RequestKey| Some(RemainingLength::certain(remaining[key as usize]));
        scheduler.schedule(0.0, &mut |view| forecast(view.request.key)).admitted
    };
    assert_eq!(admitted(&mut scheduler, remaining), [1]);
    remaining[2] = 9;
    scheduler.apply(&StepOutcome { work: vec![WorkDone { key: 1, appended: 1, finished: true }] });
    assert_eq!(admitted(&mut scheduler, remaining), [3]);
}

#[test]
fn a_length_predicted_at_arrival_stays_what_it_was() {
    let admitted = |order: &str| {
        let mut scheduler = scheduler(SchedulerConfig { max_running: 1, ..CONFIG }, order);
        for key in 1..=3 {
            scheduler.add(Request { arrival: 0.0, ..request(key, 16, 12) }).unwrap();
        }
        let mut admitted = |remaining: [u32; 4]| {
            let forecast = |key: RequestKey| Some(RemainingLength::certain(remaining[key as usize]));
            scheduler.schedule(0.0, &mut |view| forecast(view.request.key)).admitted
        };
        assert_eq!(admitted([0, 2, 4, 8]), [1]);
        scheduler.abort(1);
        scheduler
            .schedule(0.0, &mut |view| Some(RemainingLength::certain([0, 2, 9, 8][view.request.key as usize])))
            .admitted
    };
    for (order, second) in [("sjf-pred", 2), ("ltr", 2), ("tie", 2), ("isrtf-50", 2), ("srpt-pred", 3), ("hrrn", 2)] {
        assert_eq!(admitted(order), [second], "{order}");
    }
}

/// Runs request 1 for ten steps of a second, in which requests 2 and 3 come; answers who of them is admitted then.
fn admitted_after_one(order: &str, deadline: f64) -> Vec<RequestKey> {
    let mut scheduler = scheduler(SchedulerConfig { max_running: 1, ..CONFIG }, order);
    scheduler.add(Request { arrival: 0.0, ..request(1, 4, 10) }).unwrap();
    for step in 0..10 {
        if step == 1 {
            scheduler.add(Request { arrival: 0.5, ..request(2, 4, 5) }).unwrap();
            scheduler.add(Request { arrival: 0.5, deadline: Some(deadline), ..request(3, 4, 6) }).unwrap();
        }
        let plan =
            scheduler.schedule(f64::from(step), &mut |view| Some(RemainingLength::certain(view.max_remaining())));
        let done = plan.work.iter().map(|work| WorkDone { key: work.key, appended: 1, finished: false });
        scheduler.apply(&StepOutcome { work: done.collect() });
    }
    scheduler.schedule(10.0, &mut |view| Some(RemainingLength::certain(view.max_remaining()))).admitted
}

#[test]
fn a_deadline_goes_first_when_waiting_would_miss_it_and_not_when_it_is_lost() {
    // Request 3 needs 6 s from second 10 on.
    for order in ["fcfs", "boost", "gittins(9)"] {
        for (deadline, first) in [(15.0, 2), (16.5, 3), (21.0, 3), (40.0, 2)] {
            assert_eq!(admitted_after_one(order, deadline), [first], "{order} {deadline}");
        }
    }
}

#[test]
fn what_is_not_forecast_is_taken_from_those_that_ended() {
    // 32 replies of 4 tokens; then two that could have 40 fit beside each other, as they are taken to have 4.
    let mut scheduler = scheduler(SchedulerConfig { max_running: 8, ..CONFIG }, "fcfs+peak(0.6)");
    let mut admitted_beside = |key: RequestKey| {
        scheduler.add(request(key, 4, 40)).unwrap();
        scheduler.add(request(key + 1, 4, 40)).unwrap();
        let admitted = scheduler.schedule(0.0, &mut |_| None).admitted.len();
        scheduler.abort(key);
        scheduler.abort(key + 1);
        for key in key + 2..key + 18 {
            scheduler.add(request(key, 4, 40)).unwrap();
            for appended in [1, 1, 1, 1] {
                let plan = scheduler.schedule(0.0, &mut |_| None);
                let ends = scheduler.view(key).unwrap().generated == 3;
                let done = plan.work.iter().map(|work| WorkDone { key: work.key, appended, finished: ends });
                scheduler.apply(&StepOutcome { work: done.collect() });
            }
        }
        admitted
    };
    assert_eq!([1, 101, 201].map(&mut admitted_beside), [1, 1, 2]);
}

#[test]
fn sglangs_retraction_leaves_room_for_twenty_steps() {
    let limits = SchedulerConfig { block_size: 1, num_blocks: 60, max_running: 8, max_batched_tokens: 64 };
    let preempted = |policy: &str| {
        let mut scheduler = scheduler(limits, policy);
        for key in 1..=4 {
            scheduler.add(request(key, 10, 40)).unwrap();
        }
        (0..20).map(|_| step(&mut scheduler).preempted).find(|preempted| !preempted.is_empty()).unwrap()
    };
    // 4 * 15 tokens fill the budget. Two that stay can have 20 more each, three cannot.
    assert_eq!(preempted("fcfs+aggressive+lifo"), [4]);
    assert_eq!(preempted("fcfs+aggressive+fewest-generated").len(), 3);
}

#[test]
fn forecasts_are_asked_only_where_the_policy_needs_them() {
    let mut scheduler = scheduler(CONFIG, "fcfs+conservative+lifo");
    scheduler.add(request(1, 6, 10)).unwrap();
    scheduler.schedule(0.0, &mut |_| panic!("asked"));
}

#[test]
fn an_abort_frees_the_blocks_at_once() {
    let mut scheduler = scheduler(CONFIG, "fcfs");
    scheduler.add(request(1, 10, 8)).unwrap();
    scheduler.add(request(2, 10, 8)).unwrap();
    let plan = scheduler.schedule(0.0, &mut |_| None);
    assert_eq!(plan.admitted, [1, 2]);
    assert!(scheduler.abort(1));
    // The step that computed it may still report it.
    let done = |key| WorkDone { key, appended: u32::from(key == 1), finished: false };
    scheduler.apply(&StepOutcome { work: vec![done(1), done(2)] });
    let Stats { running, waiting, blocks_used, .. } = scheduler.stats();
    assert_eq!((running, waiting, blocks_used), (1, 0, 2));
    assert!(!scheduler.abort(1));
    assert_eq!((scheduler.view(1), scheduler.block_table(1)), (None, &[][..]));
}

#[test]
fn reaching_max_tokens_ends_a_request() {
    let mut scheduler = scheduler(CONFIG, "fcfs");
    scheduler.add(request(1, 6, 2)).unwrap();
    step(&mut scheduler);
    step(&mut scheduler);
    assert_eq!(scheduler.view(1), None);
    assert_eq!(step(&mut scheduler), StepPlan::default());
}

#[test]
fn queue_time_is_told_by_the_first_admission() {
    let mut scheduler = scheduler(CONFIG, "fcfs");
    scheduler.add(request(1, 6, 2)).unwrap();
    assert_eq!(scheduler.view(1).unwrap().first_admitted, None);
    scheduler.schedule(7.5, &mut |_| None);
    assert_eq!(scheduler.view(1).unwrap().first_admitted, Some(7.5));
}

#[test]
fn a_request_that_could_never_finish_is_refused() {
    let mut scheduler = scheduler(CONFIG, "fcfs");
    assert_eq!(scheduler.add(request(1, 60, 5)), Err(AddError::NeverFits { tokens: 65, kv_tokens: 64 }));
    assert_eq!(scheduler.add(request(1, u32::MAX, u32::MAX)).unwrap_err().to_string().lines().count(), 1);
    assert_eq!(scheduler.add(request(1, 0, 5)), Err(AddError::EmptyPrompt));
    assert_eq!(scheduler.add(request(1, 5, 0)), Err(AddError::NoTokensToGenerate));
    assert_eq!(scheduler.add(request(1, 60, 4)), Ok(()));
    assert_eq!(scheduler.add(request(1, 5, 5)), Err(AddError::DuplicateKey(1)));
}

#[test]
fn limits_that_contradict_are_refused_by_name() {
    let error = |config| Scheduler::new(config, "fcfs".parse().unwrap()).unwrap_err();
    assert_eq!(error(SchedulerConfig { block_size: 0, ..CONFIG }), ConfigError::Zero("block_size"));
    assert_eq!(error(SchedulerConfig { num_blocks: u32::MAX, ..CONFIG }), ConfigError::TooManyKvTokens);
    let error = error(SchedulerConfig { max_batched_tokens: 3, ..CONFIG });
    assert!(error.to_string().starts_with("max_batched_tokens 3 is less than max_running 4"));
}
