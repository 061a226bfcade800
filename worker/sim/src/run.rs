//! The loop: requests come, the scheduler plans, the step takes its time, tokens appear.

use std::fmt;

use crate::cost::{CostError, CostModel, StepWork};
use crate::foresight::{ForecastSource, Foresight};
use crate::kv_use::KvUse;
use crate::trace::Workload;
use eoscast_sched::{
    AddError, BlockHash, ConfigError, Policy, Request, Scheduler, SchedulerConfig, StepOutcome, WorkDone,
};

/// The engine that is simulated.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedEngine {
    /// Its limits.
    pub config: SchedulerConfig,
    /// Who runs.
    pub policy: Policy,
    /// How long a step takes.
    pub cost: CostModel,
    /// Whether a preempted request may find blocks again that nobody needed meanwhile. Requests of a trace, whose
    /// content is not known, share none.
    pub prefix_cache: bool,
}

/// What became of one request. Times are seconds from the first arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedReply {
    /// When it came.
    pub arrival: f64,
    /// When its first token was there.
    pub first_token: f64,
    /// When its last token was there.
    pub end: f64,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedRun {
    /// In the order of the workload.
    pub replies: Vec<SimulatedReply>,
    /// Steps of the engine.
    pub steps: u64,
    /// Requests in a step, summed over the steps.
    pub request_steps: u64,
    /// Tokens computed again because preemption freed their KV entries.
    pub recomputed_tokens: u64,
    /// KV use over time.
    pub kv_use: KvUse,
}

/// What cannot be simulated.
#[derive(Clone, Debug, PartialEq)]
pub enum SimulationError {
    /// The limits make no sense.
    Config(ConfigError),
    /// The prices make no sense.
    Cost(CostError),
    /// The scheduler refuses a request.
    Request {
        /// Its place in the trace.
        row: usize,
        /// Why.
        error: AddError,
    },
    /// The policy leaves requests waiting and runs nothing.
    Stalled {
        /// Requests that wait.
        waiting: usize,
    },
}

impl fmt::Display for SimulationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Cost(error) => error.fmt(f),
            Self::Request { row, error } => write!(f, "request {} of the trace: {error}", row + 1),
            Self::Stalled { waiting } => write!(f, "the policy runs nothing while {waiting} requests wait"),
        }
    }
}

impl std::error::Error for SimulationError {}

/// Runs a workload to the end. A policy that wants the truth gets it, whatever `predictor` is; `progress` is told how many requests ended since it was last called.
///
/// # Errors
/// The engine's limits or prices make no sense, or a request does not fit.
pub fn simulate(
    engine: &SimulatedEngine,
    workload: &Workload,
    predictor: &ForecastSource,
    seed: u64,
    mut progress: impl FnMut(u64),
) -> Result<SimulatedRun, SimulationError> {
    engine.cost.check().map_err(SimulationError::Cost)?;
    let mut scheduler = Scheduler::new(engine.config, engine.policy).map_err(SimulationError::Config)?;
    let predictor = if engine.policy.wants_truth() { &ForecastSource::Oracle } else { predictor };
    let mut foresight = Foresight::new(predictor, seed);
    let Workload { requests, arrivals } = workload;
    let unborn = |arrival: &f64| SimulatedReply {
        arrival: *arrival,
        first_token: 0.0,
        end: 0.0,
        output_tokens: 0,
        preemptions: 0,
    };
    let mut replies: Vec<SimulatedReply> = arrivals.iter().map(unborn).collect();
    let (mut steps, mut request_steps) = (0, 0);
    let mut kv_use = KvUse::default();
    let (mut now, mut next, mut live) = (0.0, 0, 0);
    let mut outcome = StepOutcome::default();
    loop {
        if live == 0 {
            match arrivals.get(next) {
                Some(arrival) => now = arrival.max(now),
                None => break,
            }
        }
        while let Some(arrival) = arrivals.get(next).filter(|arrival| **arrival <= now) {
            let request = &requests[next];
            let added = scheduler.add(Request {
                // The key is the place in the workload.
                key: next as u64,
                prompt_tokens: request.prompt_tokens,
                max_tokens: request.max_tokens,
                priority: 0,
                arrival: *arrival,
                deadline: None,
            });
            added.map_err(|error| SimulationError::Request { row: request.row, error })?;
            if engine.prefix_cache {
                scheduler.extend_hashes(next as u64, BlockHash::unshared(next as u64, 0));
            }
            (next, live) = (next + 1, live + 1);
        }
        let plan = scheduler.schedule(now, &mut |view| foresight.forecast(view, &requests[view.request.key as usize]));
        if plan.work.is_empty() {
            return Err(SimulationError::Stalled { waiting: live });
        }
        plan.preempted.iter().for_each(|&key| replies[key as usize].preemptions += 1);
        let seconds = engine.cost.seconds(&StepWork::of(&plan));
        let stats = scheduler.stats();
        kv_use.push(now, seconds, f64::from(stats.blocks_used) / f64::from(stats.blocks_total));
        now += seconds;
        steps += 1;
        request_steps += plan.work.len() as u64;
        outcome.work.clear();
        let mut ended = 0;
        for work in &plan.work {
            let (reply, request) = (&mut replies[work.key as usize], &requests[work.key as usize]);
            if work.samples {
                reply.output_tokens += 1;
                if reply.output_tokens == 1 {
                    reply.first_token = now;
                }
            }
            let finished = reply.output_tokens == request.output_tokens;
            if finished {
                reply.end = now;
                ended += 1;
                foresight.observe(request);
            }
            outcome.work.push(WorkDone { key: work.key, appended: u32::from(work.samples), finished });
        }
        scheduler.apply(&outcome);
        if engine.prefix_cache {
            for work in outcome.work.iter().filter(|work| work.appended > 0 && !work.finished) {
                let told = scheduler.block_hashes(work.key).len();
                scheduler.extend_hashes(work.key, BlockHash::unshared(work.key, told));
            }
        }
        live -= ended;
        if ended > 0 {
            progress(ended as u64);
        }
    }
    let recomputed_tokens = scheduler.stats().recomputed_tokens_total;
    Ok(SimulatedRun { replies, steps, request_steps, recomputed_tokens, kv_use })
}
