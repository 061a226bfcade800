//! One policy on one workload: on the worker, and in the simulator with the forecasts that the worker had.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::simulation::sweep::NamedPolicy;
use crate::simulation::trace_log::LogTrace;
use anyhow::Context;
use eoscast_proto::worker::v1::GenerateRequest;
use eoscast_sim::{
    CostModel, Demand, ForecastSource, KvUse, SimulatedEngine, SimulatedReply, SimulatedRun, Summary, TraceRequest,
    Workload, simulate,
};
use serde::{Deserialize, Serialize};

use super::metrics::RunMetrics;
use super::open_loop::{Served, open_loop};
use super::options::ExperimentOptions;
use super::oracle::Lengths;
use super::plan::Planned;
use super::requests::Known;
use super::services::{Counts, Forecasts, Services};

/// Policy of the first pass: LightLLM's, which fills the memory without a forecast.
const FIRST_POLICY: &str = "fcfs+past-future";

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasuredRun {
    /// As it was asked for.
    pub(crate) policy: String,
    /// The load.
    pub(crate) rho: f64,
    /// Counted from 0.
    pub(crate) round: u32,
    /// Load that the arrivals came to.
    pub(crate) offered_rho: f64,
    /// KV that a batch without a memory limit would hold, over the budget.
    pub(crate) kv_pressure: f64,
    /// On the worker.
    pub(crate) measured: RunMetrics<f64>,
    /// The same requests, arrivals, policy and forecasts in virtual time, at the speed that the machine had.
    pub(crate) simulated: RunMetrics<f64>,
    /// How many times as long the same steps took as in the first pass: others share the machine.
    pub(crate) slowness: f64,
    /// Replies that had another length than before.
    pub(crate) different_lengths: usize,
    /// Seconds by which the latest request was sent too late.
    pub(crate) latest_send: f64,
    /// Steps that the predictor never heard of.
    pub(crate) dropped_steps: u64,
    /// Share of the worker's steps whose forecasts were all fresh estimates.
    pub(crate) steps_by_estimates: f64,
}

/// The same with each request, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DetailedRun {
    /// In sum.
    #[serde(flatten)]
    pub(crate) outcome: MeasuredRun,
    /// By request id.
    pub(crate) served: Vec<(String, Served)>,
}

/// Serves all requests, sent at once; what came of each.
///
/// # Errors
/// A service does not start, or a request fails for another reason than that it is refused.
pub(crate) async fn first_pass(
    options: &ExperimentOptions,
    requests: Vec<GenerateRequest>,
    progress: &(dyn Fn() + Sync),
) -> anyhow::Result<Vec<Option<Served>>> {
    let services = Services::start(options, FIRST_POLICY, Forecasts::Predictor).await?;
    let due = requests.into_iter().map(|request| (0.0, request)).collect();
    let served = open_loop(&services.client, due, progress).await?;
    services.stop().await?;
    Ok(served)
}

/// The prices with which the simulator takes as long as the first pass took: what serving costs beside the steps themselves, and
/// how fast the machine is today, are in them, so that a load of 1 is what the worker can really serve.
///
/// # Errors
/// The simulator refuses.
pub(crate) fn calibrated(
    options: &ExperimentOptions,
    cost: CostModel,
    requests: Vec<TraceRequest>,
    served: &[Option<Served>],
) -> anyhow::Result<CostModel> {
    let policy = FIRST_POLICY.parse()?;
    let engine = SimulatedEngine { config: options.config(), policy, cost, prefix_cache: true };
    let workload = Workload { arrivals: vec![0.0; requests.len()], requests };
    let simulated = simulate(&engine, &workload, &ForecastSource::Prior, 0, |_| ())?;
    let simulated = simulated.replies.iter().map(|reply| reply.end).fold(0.0, f64::max);
    let took = served.iter().flatten().map(|served| served.end).fold(0.0, f64::max);
    Ok(cost.times(took / simulated))
}

/// Runs one policy on a workload drawn from the known requests, whose rows are their places among these.
///
/// # Errors
/// A service does not start or stop, a request fails, or the simulator refuses.
pub(crate) async fn run(
    options: &ExperimentOptions,
    cost: CostModel,
    known: &[Known],
    workload: &Workload,
    planned: Planned,
    progress: &(dyn Fn() + Sync),
) -> anyhow::Result<DetailedRun> {
    let NamedPolicy { name, policy } = &options.policy[planned.policy];
    let forecasts = match policy.wants_truth() {
        true => Forecasts::Oracle(
            known
                .iter()
                .map(|known| (known.request.request_id.clone(), known.lengths.output_tokens))
                .collect::<Lengths>(),
        ),
        false => Forecasts::Predictor,
    };
    let asked: Vec<&Known> = workload.requests.iter().map(|request| &known[request.row]).collect();
    let due = workload.arrivals.iter().copied().zip(asked.iter().map(|known| known.request.clone())).collect();
    let mut services = Services::start(options, name, forecasts).await?;
    let served: Option<Vec<Served>> = open_loop(&services.client, due, progress).await?.into_iter().collect();
    let served = served.context("the worker refused a request that it had served in the first pass")?;
    let dropped_steps = services.link().await?.dropped_steps;
    let counts = services.counts().await?;
    let log = services.stop().await?;

    let demand = Demand::of(&workload.requests, options.config(), &cost);
    let (workload_by_log, predictor) = match &log {
        Some(folder) => with_estimates(workload, &asked, folder.path())?,
        None => (workload.clone(), ForecastSource::Oracle),
    };
    let at = |slowness: f64| {
        let engine = SimulatedEngine {
            config: options.config(),
            policy: *policy,
            cost: cost.times(slowness),
            prefix_cache: true,
        };
        simulate(&engine, &workload_by_log, &predictor, 0, |_| ()).with_context(|| name.clone())
    };
    let slowness = slowness(&counts, &at(1.0)?, &cost);
    let simulated = at(slowness)?;
    let differs = |(served, known): &(&Served, &&Known)| served.output_tokens != known.lengths.output_tokens;
    let measured = Summary::of(&as_run(&served), workload, &demand);
    let outcome = MeasuredRun {
        policy: name.clone(),
        rho: planned.rho,
        round: planned.round,
        offered_rho: measured.rho,
        kv_pressure: measured.kv_pressure,
        measured: measured.into(),
        simulated: Summary::of(&simulated, workload, &demand).into(),
        slowness,
        different_lengths: served.iter().zip(&asked).filter(differs).count(),
        latest_send: served.iter().map(|served| served.sent - served.arrival).fold(0.0, f64::max),
        dropped_steps,
        steps_by_estimates: counts.steps_by_estimates,
    };
    let ids = asked.iter().map(|known| known.request.request_id.clone());
    Ok(DetailedRun { outcome, served: ids.zip(served).collect() })
}

/// How many times as long the worker's steps took as such steps should by `cost`, with which `simulated` ran. Both computed the same
/// replies, but slower steps gather larger batches and need fewer of them, so what a step costs by itself is made up for.
fn slowness(counts: &Counts, simulated: &SimulatedRun, cost: &CostModel) -> f64 {
    counts.busy_seconds / (simulated.kv_use.busy_seconds() + cost.step * (counts.steps - simulated.steps as f64))
}

/// The workload with the rows of the predictor's log, and the estimates in it.
fn with_estimates(workload: &Workload, asked: &[&Known], folder: &Path) -> anyhow::Result<(Workload, ForecastSource)> {
    let trace = LogTrace::read(folder, None)?;
    let rows: HashMap<&str, usize> = trace.ids().map(|(id, row)| (id.as_str(), row)).collect();
    let mut workload = workload.clone();
    for (request, known) in workload.requests.iter_mut().zip(asked) {
        // A row that is not there has no estimates.
        request.row = rows.get(known.request.request_id.as_str()).copied().unwrap_or(usize::MAX);
    }
    Ok((workload, ForecastSource::Recorded(Arc::new(trace.estimates(folder)?))))
}

/// In the simulator's terms, so that both are summed up alike.
fn as_run(served: &[Served]) -> SimulatedRun {
    let reply = |served: &Served| SimulatedReply {
        arrival: served.arrival,
        first_token: served.first_token,
        end: served.end,
        output_tokens: served.output_tokens,
        preemptions: served.preemptions,
    };
    SimulatedRun {
        replies: served.iter().map(reply).collect(),
        steps: 0,
        request_steps: 0,
        recomputed_tokens: 0,
        kv_use: KvUse::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_is_told_from_its_busy_time_though_it_gathers_larger_batches() {
        let request = |row| TraceRequest { row, arrival: None, prompt_tokens: 30, output_tokens: 90, max_tokens: 99 };
        let requests: Vec<_> = (0..40).map(request).collect();
        let arrivals = (0..40).map(|i| 0.4 * f64::from(i)).collect();
        let workload = Workload { requests, arrivals };
        let config =
            eoscast_sched::SchedulerConfig { block_size: 16, num_blocks: 64, max_running: 8, max_batched_tokens: 64 };
        let cost = CostModel::WORKER;
        let run = |slowness: f64| {
            let policy = "fcfs".parse().unwrap();
            let engine = SimulatedEngine { config, policy, cost: cost.times(slowness), prefix_cache: true };
            simulate(&engine, &workload, &ForecastSource::Prior, 0, |_| ()).unwrap()
        };
        let (usual, slow) = (run(1.0), run(1.5));
        assert!(slow.kv_use.busy_seconds() < 1.3 * usual.kv_use.busy_seconds() && slow.steps < usual.steps);
        let counts =
            Counts { steps: slow.steps as f64, steps_by_estimates: 1.0, busy_seconds: slow.kv_use.busy_seconds() };
        let told = slowness(&counts, &usual, &cost);
        assert!((told - 1.5).abs() < 0.03, "{told}");
    }
}
