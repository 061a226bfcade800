//! Every policy at every load with every seed, on all cores.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use eoscast_sched::{Policy, SchedulerConfig};
use eoscast_sim::{
    Arrivals, CostModel, Demand, ForecastSource, SimulatedEngine, SimulatedReply, Summary, TraceRequest, Workload,
    simulate,
};

/// A policy and the name it was asked for by.
#[derive(Debug, Clone)]
pub(crate) struct NamedPolicy {
    /// As it was asked for.
    pub(crate) name: String,
    /// What it stands for.
    pub(crate) policy: Policy,
}

impl FromStr for NamedPolicy {
    type Err = eoscast_sched::PolicyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self { name: name.trim().to_owned(), policy: name.trim().parse()? })
    }
}

/// How many requests come in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// As recorded.
    Recorded,
    /// So that the engine is busy for this share of the time with full batches.
    Rho(f64),
    /// Requests a second.
    Rate(f64),
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        let load = match text.strip_suffix("/s") {
            Some(rate) => number(rate).map(Self::Rate),
            None => number(text).map(Self::Rho),
        };
        load.ok_or_else(|| "must be a load above 0, like 0.9, or a rate, like 2.5/s".to_owned())
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => f.write_str("recorded"),
            Self::Rho(rho) => rho.fmt(f),
            Self::Rate(rate) => write!(f, "{rate}/s"),
        }
    }
}

/// What to compare, and on what.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    /// Requests to draw from.
    pub(crate) trace: Vec<TraceRequest>,
    /// Requests of each run.
    pub(crate) requests: usize,
    /// Whether arrivals are drawn, instead of taken from the trace.
    pub(crate) poisson: bool,
    /// One run each.
    pub(crate) loads: Vec<Load>,
    /// One run each.
    pub(crate) policies: Vec<NamedPolicy>,
    /// One run each, from 0.
    pub(crate) seeds: u64,
    /// What the policies see.
    pub(crate) predictor: ForecastSource,
    /// Limits of the engine.
    pub(crate) config: SchedulerConfig,
    /// Times of its steps.
    pub(crate) cost: CostModel,
    /// Whether preempted requests may find their blocks again.
    pub(crate) prefix_cache: bool,
}

/// A run of one policy at one load with one seed.
#[derive(Debug, Clone)]
pub(crate) struct SweepRun {
    /// Place in [`Sweep::loads`].
    pub(crate) load: usize,
    /// Place in [`Sweep::policies`].
    pub(crate) policy: usize,
    /// The seed.
    pub(crate) seed: u64,
    /// Its figures.
    pub(crate) summary: Summary,
    /// Seconds of each request.
    pub(crate) latencies: Vec<f64>,
    /// Seconds and the share of the KV budget in use.
    pub(crate) kv_use: Vec<(f64, f64)>,
}

impl Sweep {
    /// Leaves out requests that never fit the budget and lowers `max_tokens` where it would not; gives how many are gone.
    ///
    /// # Errors
    /// None is left.
    pub(crate) fn fit_to_budget(&mut self) -> anyhow::Result<usize> {
        let budget = u64::from(self.config.num_blocks) * u64::from(self.config.block_size);
        let budget = u32::try_from(budget).context("--kv-tokens: the budget is too large")?;
        let before = self.trace.len();
        self.trace = std::mem::take(&mut self.trace).into_iter().filter_map(|r| r.within(budget)).collect();
        ensure!(!self.trace.is_empty(), "--kv-tokens: no request of the trace fits in {budget} tokens");
        Ok(before - self.trace.len())
    }

    /// Requests over all runs.
    pub(crate) fn total_requests(&self) -> u64 {
        let runs = self.loads.len() as u64 * self.policies.len() as u64 * self.seeds;
        runs * self.requests.min(self.trace.len()) as u64
    }

    /// Runs all, by load, then policy, then seed; `progress` is told how many requests ended since it was last called.
    ///
    /// # Errors
    /// Arrivals are not recorded, or limits make no sense.
    pub(crate) fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> anyhow::Result<Vec<SweepRun>> {
        let mut tasks = Vec::new();
        for load in 0..self.loads.len() {
            for policy in 0..self.policies.len() {
                tasks.extend((0..self.seeds).map(|seed| (load, policy, seed)));
            }
        }
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::with_capacity(tasks.len()));
        let work = || {
            while let Some(&(load, policy, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.run_one(load, policy, seed, progress);
                let failed = outcome.is_err();
                // A thread that panicked has not left a half-pushed outcome.
                outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(outcome);
                if failed {
                    next.store(tasks.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..num_cpus::get().min(tasks.len()) {
                scope.spawn(work);
            }
        });
        let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut outcomes = outcomes.into_iter().collect::<anyhow::Result<Vec<SweepRun>>>()?;
        outcomes.sort_by_key(|outcome| (outcome.load, outcome.policy, outcome.seed));
        Ok(outcomes)
    }

    fn run_one(&self, load: usize, policy: usize, seed: u64, progress: &dyn Fn(u64)) -> anyhow::Result<SweepRun> {
        let rate = match self.loads[load] {
            Load::Recorded => None,
            Load::Rho(rho) => Some(Demand::of(&self.trace, self.config, &self.cost).rate(rho)),
            Load::Rate(rate) => Some(rate),
        };
        let arrivals = match (rate, self.poisson) {
            (None, _) => Arrivals::Recorded,
            (Some(rate), false) => Arrivals::Scaled { rate },
            (Some(rate), true) => Arrivals::Poisson { rate },
        };
        let workload = Workload::draw(&self.trace, self.requests, arrivals, seed)?;
        let NamedPolicy { name, policy: rules } = &self.policies[policy];
        let engine =
            SimulatedEngine { config: self.config, policy: *rules, cost: self.cost, prefix_cache: self.prefix_cache };
        let run = simulate(&engine, &workload, &self.predictor, seed, progress).with_context(|| name.clone())?;
        let demand = Demand::of(&workload.requests, self.config, &self.cost);
        Ok(SweepRun {
            load,
            policy,
            seed,
            summary: Summary::of(&run, &workload, &demand),
            latencies: run.replies.iter().map(SimulatedReply::latency).collect(),
            kv_use: run.kv_use.moments,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::simulation) fn sweep() -> Sweep {
        let request = |row: usize| TraceRequest {
            row,
            arrival: None,
            prompt_tokens: 10 + row as u32 % 30,
            output_tokens: 1 + (row as u32 * 17) % 50,
            max_tokens: 64,
        };
        Sweep {
            trace: (0..120).map(request).collect(),
            requests: 60,
            poisson: true,
            loads: vec![Load::Rho(0.5), Load::Rho(1.2)],
            policies: ["fcfs", "srpt"].map(|name| name.parse().unwrap()).to_vec(),
            seeds: 3,
            predictor: ForecastSource::Oracle,
            config: SchedulerConfig { block_size: 16, num_blocks: 20, max_running: 8, max_batched_tokens: 64 },
            cost: CostModel::WORKER,
            prefix_cache: true,
        }
    }

    #[test]
    fn every_policy_meets_the_same_requests_at_the_load_asked_for() {
        let sweep = sweep();
        let ended = Mutex::new(0);
        let outcomes = sweep.run(&|count| *ended.lock().unwrap() += count).unwrap();
        assert_eq!((outcomes.len(), *ended.lock().unwrap()), (12, sweep.total_requests()));
        for outcome in &outcomes {
            let [Load::Rho(low), Load::Rho(high)] = sweep.loads[..] else { unreachable!() };
            let asked = [low, high][outcome.load];
            assert!((outcome.summary.rho / asked - 1.0).abs() < 0.4, "{} {asked}", outcome.summary.rho);
            let same = outcomes.iter().find(|o| (o.load, o.policy, o.seed) == (outcome.load, 0, outcome.seed)).unwrap();
            assert_eq!(
                (same.summary.rho, same.summary.kv_pressure),
                (outcome.summary.rho, outcome.summary.kv_pressure)
            );
        }
    }

    #[test]
    fn what_cannot_be_run_is_told() {
        let recorded = Sweep { poisson: false, loads: vec![Load::Recorded], ..sweep() };
        let error = format!("{:#}", recorded.run(&|_| ()).unwrap_err());
        assert!(error.contains("has no arrival"), "{error}");
        let mut small = sweep();
        small.config.num_blocks = 2;
        assert!(small.fit_to_budget().unwrap() > 0);
        small.config = SchedulerConfig { num_blocks: 1, block_size: 1, ..small.config };
        assert!(
            format!("{:#}", small.fit_to_budget().unwrap_err()).contains("no request of the trace fits in 1 tokens")
        );
    }

    #[test]
    fn a_load_is_a_share_or_a_rate() {
        assert_eq!(("0.9".parse(), "2.5/s".parse()), (Ok(Load::Rho(0.9)), Ok(Load::Rate(2.5))));
        for bad in ["", "0", "-1", "x/s", "inf"] {
            assert!(bad.parse::<Load>().unwrap_err().contains("must be a load above 0"));
        }
    }
}
