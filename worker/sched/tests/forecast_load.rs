//! The forecast load: what it counts, and that it falls before memory is free.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_sched::{
    FORECAST_WINDOW, ForecastLoad, LEVELS, RemainingLength, Request, RequestView, Scheduler, SchedulerConfig,
    StepOutcome, WorkDone,
};
use proptest::prelude::*;

/// Prompt tokens and true length.
type Job = (u32, u32);

/// A scheduler and the truth about its requests; their keys are their places.
struct Worker {
    scheduler: Scheduler,
    jobs: Vec<Job>,
    now: f64,
}

impl Worker {
    fn new(kv_tokens: u32, jobs: &[Job]) -> Self {
        let config =
            SchedulerConfig { block_size: 1, num_blocks: kv_tokens, max_running: 64, max_batched_tokens: 10_000 };
        let scheduler = Scheduler::new(config, "fcfs+oracle-peak".parse().unwrap()).unwrap();
        let mut worker = Self { scheduler, jobs: Vec::new(), now: 0.0 };
        jobs.iter().for_each(|&job| worker.add(job));
        worker
    }

    fn add(&mut self, job: Job) {
        let key = self.jobs.len() as u64;
        self.jobs.push(job);
        let (prompt_tokens, max_tokens) = (job.0, 1000.min(job.1 + 100));
        let request = Request { key, prompt_tokens, max_tokens, priority: 0, arrival: self.now, deadline: None };
        self.scheduler.add(request).unwrap();
    }

    fn step(&mut self) {
        let jobs = &self.jobs;
        let plan = self.scheduler.schedule(self.now, &mut |view| truth(jobs, view));
        let work = plan.work.iter().map(|work| {
            let generated = self.scheduler.view(work.key).unwrap().generated + 1;
            WorkDone { key: work.key, appended: 1, finished: generated == jobs[work.key as usize].1 }
        });
        let outcome = StepOutcome { work: work.collect() };
        self.scheduler.apply(&outcome);
        self.now += 1.0;
    }

    fn load(&self) -> ForecastLoad {
        self.scheduler.forecast_load(&mut |view| truth(&self.jobs, view))
    }
}

fn truth(jobs: &[Job], view: &RequestView) -> Option<RemainingLength> {
    Some(RemainingLength::certain(jobs[view.request.key as usize].1 - view.generated))
}

fn close(actual: f64, expected: f64) -> bool {
    (actual / expected - 1.0).abs() < 0.01
}

#[test]
fn an_idle_worker_has_no_load() {
    assert_eq!(Worker::new(1000, &[]).load(), ForecastLoad::default());
}

#[test]
fn a_running_request_counts_while_it_will_run() {
    let mut worker = Worker::new(1000, &[(100, 50)]);
    worker.step();
    // It holds 101 tokens and generates 49: 101, 102, ..., 149 in 49 of 256 steps.
    let load = worker.load();
    assert!(close(load.mean, 49.0 * 125.0 / 256.0 / 1000.0), "{load:?}");
    assert!(close(load.peak, 0.149), "{load:?}");
    assert!(close(load.outstanding_mean, 49.0) && close(load.outstanding_p90, 49.0), "{load:?}");
}

#[test]
fn a_waiting_request_asks_for_its_prompt_until_there_is_room() {
    let mut worker = Worker::new(1000, &[(800, 100)]);
    worker.step();
    let alone = worker.load().mean;
    worker.add((700, 50));
    // The first runs for 99 steps; then the second holds 700 to 749 tokens in 50 steps.
    let both = worker.load();
    assert!(close(both.mean - alone, (99.0 * 700.0 + 50.0 * 724.5) / 256.0 / 1000.0), "{both:?} {alone}");
    assert!(both.peak > 1.5, "{both:?}");
}

#[test]
fn a_queue_makes_the_load_exceed_one() {
    let mut worker = Worker::new(1000, &[(500, 400); 8]);
    worker.step();
    assert!(worker.load().mean > 3.0, "{:?}", worker.load());
    assert!(close(worker.load().outstanding_mean, 3199.0), "{:?}", worker.load());
}

#[test]
fn of_a_long_queue_the_end_is_as_long_as_the_beginning() {
    let mut worker = Worker::new(1000, &[(500, 200); 2500]);
    worker.step();
    assert!(close(worker.load().outstanding_mean, 2500.0 * 200.0), "{:?}", worker.load());
    assert!(close(worker.load().mean, 1250.0), "{:?}", worker.load());
}

#[test]
fn many_uncertain_lengths_add_up_to_a_sum_that_is_less_uncertain() {
    let worker = Worker::new(100_000, &[(10, 500); 49]);
    let uniform = RemainingLength { mean: 100.0, quantiles: LEVELS.map(|level| 200.0 * level) };
    let load = worker.scheduler.forecast_load(&mut |_| Some(uniform));
    assert!(close(load.outstanding_mean, 4900.0), "{load:?}");
    // A uniform length over 200 tokens deviates by 57.7, 49 together by 404.
    let margin = load.outstanding_p90 - load.outstanding_mean;
    assert!((margin / (1.2816 * 404.0) - 1.0).abs() < 0.05, "{margin}");
}

proptest! {
    /// The window moves on by a step: it loses what is held now, and nobody holds anything behind its end.
    #[test]
    fn with_true_lengths_and_no_arrivals_the_load_falls_in_every_step(
        jobs in prop::collection::vec((1u32..200, 1u32..FORECAST_WINDOW as u32 - 20), 1..20),
    ) {
        let mut worker = Worker::new(20_000, &jobs);
        worker.step();
        let mut before = worker.load();
        while before.mean > 0.0 {
            worker.step();
            let now = worker.load();
            prop_assert!(now.mean < before.mean, "{:?} after {:?}", now, before);
            prop_assert!(now.outstanding_mean < before.outstanding_mean, "{:?} after {:?}", now, before);
            before = now;
        }
        prop_assert_eq!(worker.scheduler.stats().running, 0);
    }

    #[test]
    fn one_request_more_is_more_load(
        jobs in prop::collection::vec((1u32..300, 1u32..600), 1..20),
        more in (1u32..300, 1u32..600),
        steps in 0u32..100,
    ) {
        let mut worker = Worker::new(1300, &jobs);
        (0..steps).for_each(|_| worker.step());
        let before = worker.load();
        worker.add(more);
        let after = worker.load();
        prop_assert!(after.mean > before.mean && after.peak >= before.peak, "{:?} after {:?}", after, before);
        prop_assert!(after.outstanding_mean > before.outstanding_mean, "{:?} after {:?}", after, before);
    }
}
