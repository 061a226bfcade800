//! The whole experiment: first pass, all runs that the journal does not hold yet, and the report.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use eoscast_log::prompts::{draw, read_prompts};
use eoscast_proto::worker::v1::GenerateRequest;
use eoscast_sim::cost_file::read_cost;
use eoscast_sim::{CostModel, Demand, TraceRequest};

use super::journal::{FirstPass, Journal, Setting};
use super::options::ExperimentOptions;
use super::plan::{plan, workload};
use super::plots;
use super::report::ExperimentReport;
use super::requests::{Known, known, requests};
use super::run::{calibrated, first_pass, run};
use eoscast_cli::progress::Progress;

/// Makes every run that is missing, and reports all of them.
///
/// # Errors
/// An option or a file is wrong, a service fails, or the folder cannot be written.
pub(crate) async fn measure(options: &ExperimentOptions) -> anyhow::Result<ExperimentReport> {
    options.check()?;
    let fitted = read_cost(&options.cost).context("--cost")?;
    let prompts = read_prompts(&options.prompts).context("--prompts")?;
    let prompts = draw(prompts, options.requests as usize, options.seed);
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("--out: {} cannot be made", options.out.display()))?;
    let setting = Setting::new(options, prompts.iter().map(|prompt| prompt.id.clone()));
    let (mut journal, first, mut outcomes) = Journal::open(&options.out.join("runs.jsonl"), &setting)?;

    let asked = requests(&prompts, options);
    let first = match first {
        Some(first) => first,
        None => {
            let first = measure_first_pass(options, fitted, setting, asked.clone()).await?;
            journal.add(&first)?;
            first
        }
    };
    let cost = CostModel::from(first.cost);
    let (known, left_out) = known(asked, &first.served, options);
    if !left_out.is_empty() {
        eprintln!("left out, as prompt and reply may not fit: {}", left_out.join(", "));
    }
    let lengths = lengths(&known);
    let demand = Demand::of(&lengths, options.config(), &cost);
    let mut planned = plan(&options.rho, options.rounds, options.policy.len());
    planned.retain(|next| {
        !outcomes
            .iter()
            .any(|run| (run.rho, run.round) == (next.rho, next.round) && run.policy == options.policy[next.policy].name)
    });
    let bar = Progress::requests("serving", (planned.len() * known.len()) as u64);
    for next in planned {
        let workload = workload(&lengths, &demand, next.rho, options.seed, next.round)?;
        let name = &options.policy[next.policy].name;
        bar.set_message(format!("{name}, load {}, round {} of {}", next.rho, next.round + 1, options.rounds));
        let detailed = run(options, cost, &known, &workload, next, &|| bar.add(1)).await;
        let detailed = detailed.with_context(|| format!("{name}, load {}, round {}", next.rho, next.round + 1))?;
        journal.add(&detailed)?;
        outcomes.push(detailed.outcome);
    }
    bar.finish();
    Ok(ExperimentReport::new(options, cost, &lengths, left_out, &outcomes))
}

/// Writes the report and its figures; gives the paths of the figures.
///
/// # Errors
/// The folder cannot be written, or the drawing library refuses.
pub(crate) fn write(report: &ExperimentReport, options: &ExperimentOptions) -> anyhow::Result<Vec<PathBuf>> {
    let path = options.out.join("report.json");
    std::fs::write(&path, serde_json::to_string_pretty(report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    plots::draw(report, &options.out)
}

async fn measure_first_pass(
    options: &ExperimentOptions,
    fitted: CostModel,
    setting: Setting,
    asked: Vec<GenerateRequest>,
) -> anyhow::Result<FirstPass> {
    let bar = Progress::requests("serving", asked.len() as u64);
    bar.set_message("first pass, to know lengths and speed");
    let served = first_pass(options, asked.clone(), &|| bar.add(1)).await?;
    bar.finish();
    let (known, left_out) = known(asked, &served, options);
    ensure!(
        known.len() > 1,
        "--kv-tokens: fewer than 2 of {} requests fit, there is nothing to compare",
        known.len() + left_out.len()
    );
    let cost = calibrated(options, fitted, lengths(&known), &served)?.into();
    Ok(FirstPass { setting, served, cost })
}

fn lengths(known: &[Known]) -> Vec<TraceRequest> {
    known.iter().map(|known| known.lengths).collect()
}
