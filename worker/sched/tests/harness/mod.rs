//! A pretended engine around the scheduler that checks every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, DefaultHasher};

use eoscast_sched::{
    Policy, PrefixHasher, RemainingLength, Request, RequestKey, RequestView, Scheduler, SchedulerConfig, SplitMix64,
    Stats, StepOutcome, StepPlan, WorkDone,
};
use proptest::prelude::*;

pub(crate) const STEP_SECONDS: f64 = 0.5;

/// A request and its fate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestJob {
    pub(crate) arrival_step: u32,
    pub(crate) prompt_tokens: u32,
    pub(crate) max_tokens: u32,
    /// Tokens it generates if it stops by itself.
    pub(crate) length: u32,
    pub(crate) priority: i32,
    pub(crate) deadline_step: Option<u32>,
    pub(crate) abort_step: Option<u32>,
    /// Its first tokens, prompt or not, are those of every job with `family`, as far as both go.
    pub(crate) common_tokens: u32,
    pub(crate) family: u32,
}

/// Where forecasts come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ForecastKind {
    Truth,
    None,
    /// At each step anew: missing, wrong, or no number at all.
    Nonsense(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) config: SchedulerConfig,
    pub(crate) jobs: Vec<TestJob>,
    pub(crate) forecaster: ForecastKind,
    /// Whether the scheduler is told what the blocks hold.
    pub(crate) prefix_cache: bool,
}

/// What a scenario came to.
#[derive(Debug, PartialEq)]
pub(crate) struct ScenarioReport {
    pub(crate) plans: Vec<StepPlan>,
    /// Keys in the order of first admission.
    pub(crate) first_admissions: Vec<RequestKey>,
    pub(crate) stats: Stats,
}

impl Scenario {
    fn forecast(&self, view: &RequestView, step: u32) -> Option<RemainingLength> {
        let job = self.jobs[view.request.key as usize];
        match self.forecaster {
            ForecastKind::Truth => Some(RemainingLength::certain(job.length - view.generated)),
            ForecastKind::None => None,
            ForecastKind::Nonsense(seed) => {
                let random = SplitMix64::new(seed, view.request.key ^ (u64::from(step) << 32)).bits();
                let tokens = (random >> 8) % 200;
                match random % 8 {
                    0 => None,
                    1 => Some(RemainingLength { mean: f32::NAN, quantiles: [f32::NEG_INFINITY; 13] }),
                    2 => Some(RemainingLength { mean: -3.0, quantiles: [f32::NAN; 13] }),
                    _ => Some(RemainingLength::certain(tokens as u32)),
                }
            }
        }
    }

    /// Tokens the jobs may generate and compute, recomputation at every token included: more steps than any run takes.
    fn step_limit(&self) -> u32 {
        let last_arrival = self.jobs.iter().map(|job| job.arrival_step).max().unwrap_or(0);
        let generated: u32 = self.jobs.iter().map(|job| job.length).sum();
        let known: u32 = self.jobs.iter().map(|job| job.prompt_tokens + job.length).sum();
        last_arrival + generated * (known + 1)
    }

    pub(crate) fn without_deadlines(mut self) -> Self {
        self.jobs.iter_mut().for_each(|job| job.deadline_step = None);
        self
    }

    /// Runs to the end and checks each step.
    pub(crate) fn run(&self, policy: &str) -> ScenarioReport {
        let policy: Policy = policy.parse().unwrap();
        let mut scheduler = Scheduler::new(self.config, policy).unwrap();
        let mut running = BTreeSet::new();
        let mut live = BTreeMap::new();
        let mut report = ScenarioReport { plans: Vec::new(), first_admissions: Vec::new(), stats: Stats::default() };
        let half = BuildHasherDefault::<DefaultHasher>::default();
        let hasher = PrefixHasher::new(self.config.block_size, [half.clone(), half]);
        let mut memory = vec![None; (self.config.num_blocks * self.config.block_size) as usize];
        let mut step = 0;
        while step == 0 || !live.is_empty() || self.jobs.iter().any(|job| job.arrival_step >= step) {
            assert!(step <= self.step_limit(), "no end after {step} steps");
            for (key, job) in (0..).zip(&self.jobs) {
                if job.arrival_step == step {
                    scheduler.add(job.request(key)).unwrap();
                    self.tell_hashes(&mut scheduler, key, &hasher);
                    live.insert(key, *job);
                }
                if job.abort_step == Some(step) {
                    assert_eq!(scheduler.abort(key), live.remove(&key).is_some());
                    running.remove(&key);
                }
            }
            let now = f64::from(step) * STEP_SECONDS;
            let plan = scheduler.schedule(now, &mut |view| self.forecast(view, step));
            for key in &plan.preempted {
                assert!(running.remove(key), "{key} was preempted without running");
            }
            let decoding: Vec<_> =
                running.iter().copied().filter(|&key| scheduler.view(key).unwrap().decodes()).collect();
            for &key in &plan.admitted {
                assert!(running.insert(key), "{key} was admitted twice");
                if scheduler.view(key).unwrap().preemptions == 0 {
                    report.first_admissions.push(key);
                }
            }
            self.check(&scheduler, &plan, &live, &running, &decoding);
            self.check_load(&scheduler, step);
            self.compute(&scheduler, &plan, &mut memory);

            let done = plan.work.iter().map(|work| {
                let generated = scheduler.view(work.key).unwrap().generated + u32::from(work.samples);
                let finished = generated == live[&work.key].length;
                WorkDone { key: work.key, appended: u32::from(work.samples), finished }
            });
            let outcome = StepOutcome { work: done.collect() };
            scheduler.apply(&outcome);
            for done in &outcome.work {
                if done.finished {
                    live.remove(&done.key);
                    running.remove(&done.key);
                } else {
                    self.tell_hashes(&mut scheduler, done.key, &hasher);
                }
            }
            report.plans.push(plan);
            step += 1;
        }
        report.stats = scheduler.stats();
        assert_eq!(report.stats.blocks_used, 0, "blocks leaked");
        report
    }

    fn tell_hashes<S: std::hash::BuildHasher>(
        &self,
        scheduler: &mut Scheduler,
        key: RequestKey,
        hasher: &PrefixHasher<S>,
    ) {
        if self.prefix_cache {
            let known = scheduler.view(key).unwrap().known();
            let tokens: Vec<u32> = (0..known).map(|position| self.token(key, position)).collect();
            let further = hasher.further(scheduler.block_hashes(key), &tokens);
            scheduler.extend_hashes(key, further);
        }
    }

    /// A token that no other position has, nor another job, unless it is common to its family.
    fn token(&self, key: RequestKey, position: u32) -> u32 {
        let job = self.jobs[key as usize];
        let origin = if position < job.common_tokens { job.family } else { 1000 + key as u32 };
        origin << 8 | position
    }

    /// Writes the entries of a plan, and checks that those before them are there, as a forward pass reads them. An entry
    /// is the token of its position, which stands for all before it too.
    fn compute(&self, scheduler: &Scheduler, plan: &StepPlan, memory: &mut [Option<u32>]) {
        let block_size = self.config.block_size;
        let mut written = BTreeSet::new();
        let slot = |table: &[u32], position: u32| {
            (table[(position / block_size) as usize] * block_size + position % block_size) as usize
        };
        let check = |memory: &[Option<u32>], key, end| {
            let table = scheduler.block_table(key);
            for position in 0..end {
                let entry = memory[slot(table, position)];
                assert_eq!(entry, Some(self.token(key, position)), "request {key} at {position}");
            }
        };
        for work in &plan.work {
            check(memory, work.key, work.start);
        }
        for work in &plan.work {
            let table = scheduler.block_table(work.key);
            for position in work.start..work.start + work.tokens {
                assert!(written.insert(slot(table, position)), "a slot written twice in a step");
                memory[slot(table, position)] = Some(self.token(work.key, position));
            }
        }
        for work in &plan.work {
            check(memory, work.key, work.start + work.tokens);
        }
    }

    fn check_load(&self, scheduler: &Scheduler, step: u32) {
        let load = scheduler.forecast_load(&mut |view| self.forecast(view, step));
        let stats = scheduler.stats();
        assert_eq!(load.mean > 0.0, stats.running + stats.waiting > 0, "{load:?}");
        assert!(load.mean <= load.peak && load.peak.is_finite(), "{load:?}");
        assert!(load.outstanding_mean <= load.outstanding_p90 && load.outstanding_p90.is_finite(), "{load:?}");
    }

    fn check(
        &self,
        scheduler: &Scheduler,
        plan: &StepPlan,
        live: &BTreeMap<RequestKey, TestJob>,
        running: &BTreeSet<RequestKey>,
        decoding: &[RequestKey],
    ) {
        let config = self.config;
        let stats = scheduler.stats();
        assert_eq!((stats.running, stats.waiting), (running.len(), live.len() - running.len()));
        assert!(running.len() <= config.max_running as usize);
        assert!(plan.admitted.is_empty() || plan.preempted.is_empty(), "admission in a step that preempted");
        assert_eq!(plan.work.is_empty(), live.is_empty(), "a step without work while requests are live");
        assert!(plan.work.iter().map(|work| work.tokens).sum::<u32>() <= config.max_batched_tokens);

        let mut worked = BTreeSet::new();
        for work in &plan.work {
            let view = scheduler.view(work.key).unwrap();
            assert!(running.contains(&work.key) && worked.insert(work.key));
            assert!(work.tokens > 0 && work.start == view.computed && work.tokens <= view.pending());
            assert_eq!(work.samples, work.tokens == view.pending());
            let covered = scheduler.block_table(work.key).len() as u32 * config.block_size;
            assert!(work.start + work.tokens <= covered, "work outside the block table");
        }
        for key in decoding.iter().chain(&plan.admitted) {
            assert!(worked.contains(key), "{key} runs and has no work");
        }

        let mut holders: BTreeMap<u32, Vec<RequestKey>> = BTreeMap::new();
        for &key in running {
            for &id in scheduler.block_table(key) {
                holders.entry(id).or_default().push(key);
            }
        }
        assert_eq!(holders.len(), stats.blocks_used as usize, "blocks held by nobody that runs");
        assert!(holders.last_key_value().is_none_or(|(&id, _)| id < config.num_blocks));
        for (id, keys) in holders.iter().filter(|(_, keys)| keys.len() > 1) {
            for &key in keys {
                let index = scheduler.block_table(key).iter().position(|other| other == id).unwrap() as u32;
                let computed = scheduler.view(key).unwrap().computed;
                assert!((index + 1) * config.block_size <= computed, "block {id} is shared and not full");
            }
        }
    }
}

impl TestJob {
    fn request(self, key: RequestKey) -> Request {
        Request {
            key,
            prompt_tokens: self.prompt_tokens,
            max_tokens: self.max_tokens,
            priority: self.priority,
            arrival: f64::from(self.arrival_step) * STEP_SECONDS,
            deadline: self.deadline_step.map(|step| f64::from(step) * STEP_SECONDS),
        }
    }
}

fn config() -> impl Strategy<Value = SchedulerConfig> {
    // The largest job, 40 + 40 tokens, fits alone.
    (1u32..=16, 80u32..=200, 1u32..=8, 0u32..=40).prop_map(|(block_size, kv_tokens, max_running, spare_tokens)| {
        SchedulerConfig {
            block_size,
            num_blocks: kv_tokens.div_ceil(block_size),
            max_running,
            max_batched_tokens: max_running + spare_tokens,
        }
    })
}

fn job() -> impl Strategy<Value = TestJob> {
    let abort_step = prop::option::weighted(0.15, 0u32..120);
    let deadline_step = prop::option::weighted(0.2, 0u32..200);
    let tokens = (1u32..=40, 1u32..=40, 1u32..=40);
    (0u32..60, tokens, -1i32..=1, deadline_step, abort_step, 0u32..=60, 0u32..3).prop_map(
        |(arrival_step, tokens, priority, deadline_step, abort_step, common_tokens, family)| TestJob {
            arrival_step,
            prompt_tokens: tokens.0,
            max_tokens: tokens.1,
            length: tokens.2.min(tokens.1),
            priority,
            deadline_step,
            abort_step,
            common_tokens,
            family,
        },
    )
}

pub(crate) fn scenario(forecaster: impl Strategy<Value = ForecastKind>) -> impl Strategy<Value = Scenario> {
    (config(), prop::collection::vec(job(), 1..24), forecaster, any::<bool>())
        .prop_map(|(config, jobs, forecaster, prefix_cache)| Scenario { config, jobs, forecaster, prefix_cache })
}

pub(crate) fn any_forecaster() -> impl Strategy<Value = ForecastKind> {
    prop_oneof![Just(ForecastKind::Truth), Just(ForecastKind::None), any::<u64>().prop_map(ForecastKind::Nonsense),]
}
