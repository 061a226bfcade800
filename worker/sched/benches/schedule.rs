//! What a schedule call costs with a long queue, for every order and every admission rule; and the forecast load.
//!
//! `cargo bench -p eoscast-sched`. In each call 256 requests decode and as many of the waiting join as the step's tokens
//! allow, about two; after it they leave, and others come. Forecasts are as wide as real ones, and quick to look up.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use eoscast_sched::{
    Admission, LEVELS, Order, RemainingLength, Request, RequestKey, RequestView, Scheduler, SchedulerConfig,
    StepOutcome, StepPlan, WorkDone,
};

const RUNNING: u32 = 256;
const MAX_TOKENS: u32 = 4096;
const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 16,
    num_blocks: 100_000,
    max_running: RUNNING + 4,
    max_batched_tokens: RUNNING + 512,
};

fn forecast(view: &RequestView) -> Option<RemainingLength> {
    let median = 200.0 + (view.request.key % 97) as f32 * 10.0;
    Some(RemainingLength { mean: median, quantiles: LEVELS.map(|level| 2.0 * level * median) })
}

/// A scheduler with 256 requests in decode and a queue.
struct BusyEngine {
    scheduler: Scheduler,
    next_key: RequestKey,
    now: f64,
}

impl BusyEngine {
    fn new(policy: &str, waiting: u32) -> Self {
        let policy = policy.parse().expect("a policy");
        let scheduler = Scheduler::new(CONFIG, policy).expect("limits that agree");
        let mut engine = Self { scheduler, next_key: 0, now: 0.0 };
        (0..RUNNING).for_each(|_| engine.add());
        while engine.scheduler.stats().waiting > 0 || engine.scheduler.stats().running < RUNNING as usize {
            let plan = engine.schedule();
            engine.apply(&plan);
        }
        (0..waiting).for_each(|_| engine.add());
        // Until all are ranked and their forecasts looked at once.
        for _ in 0..waiting / 128 + 1 {
            engine.step();
        }
        engine
    }

    /// Answers what the schedule call took.
    fn step(&mut self) -> Duration {
        let start = Instant::now();
        let plan = self.schedule();
        let spent = start.elapsed();
        self.apply(&plan);
        for key in plan.admitted {
            self.scheduler.abort(key);
            self.add();
        }
        spent
    }

    fn add(&mut self) {
        let key = self.next_key;
        self.next_key += 1;
        let prompt_tokens = 100 + (key % 50) as u32 * 4;
        let request =
            Request { key, prompt_tokens, max_tokens: MAX_TOKENS, priority: 0, arrival: self.now, deadline: None };
        self.scheduler.add(request).expect("a request that fits");
    }

    fn schedule(&mut self) -> StepPlan {
        self.now += 0.02;
        self.scheduler.schedule(self.now, &mut |view| forecast(view))
    }

    /// Nobody ends and nobody comes nearer to it, so that calls stay alike.
    fn apply(&mut self, plan: &StepPlan) {
        let decoded = |key| self.scheduler.view(key).is_some_and(|view| view.generated > 0);
        let done = plan.work.iter().map(|work| WorkDone {
            key: work.key,
            appended: u32::from(work.samples && !decoded(work.key)),
            finished: false,
        });
        let outcome = StepOutcome { work: done.collect() };
        self.scheduler.apply(&outcome);
    }
}

fn schedule(criterion: &mut Criterion) {
    let orders = Order::all().map(|order| format!("{order}+past-future"));
    let admissions = Admission::all().filter(|&admission| admission != Admission::PAST_FUTURE);
    let admissions = admissions.map(|admission| admission.to_string()).chain(["fixed-cap(256)".to_owned()]);
    let policies = orders.chain(admissions.map(|admission| format!("boost+{admission}")));
    let mut group = criterion.benchmark_group("schedule");
    group.sample_size(20);
    for policy in policies {
        for waiting in [1_000, 10_000] {
            let mut engine = BusyEngine::new(&policy, waiting);
            let parameter = BenchmarkId::new(&policy, waiting);
            group.bench_function(parameter, |bencher| {
                bencher.iter_custom(|calls| (0..calls).map(|_| engine.step()).sum());
            });
        }
    }
    group.finish();
}

fn forecast_load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forecast_load");
    group.sample_size(20);
    for waiting in [0, 1_000, 10_000] {
        let engine = BusyEngine::new("boost+past-future", waiting);
        group.bench_function(BenchmarkId::from_parameter(waiting), |bencher| {
            bencher.iter(|| engine.scheduler.forecast_load(&mut |view| forecast(view)));
        });
    }
    group.finish();
}

criterion_group!(benches, schedule, forecast_load);
criterion_main!(benches);
