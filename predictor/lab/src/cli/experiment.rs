//! `experiment`: policies compared on the real worker with the real predictor.

use crate::serving::journal::{FirstPass, Journal, Setting};
use crate::serving::options::Options;
use crate::serving::plan::{plan, workload};
use crate::serving::report::Report;
use crate::serving::requests::{Known, known, requests};
use crate::serving::run::{self, calibrated, first_pass};
use crate::serving::{plot, table};
use anyhow::{Context, ensure};
use eoscast_log::prompts::{draw, read_prompts};
use eoscast_proto::worker::v1::GenerateRequest;
use eoscast_sim::cost_file::read_cost;
use eoscast_sim::{CostModel, Demand, TraceRequest};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs the experiment.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    // One thread: the cores are the worker's.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(experiment(options))
}

#[expect(clippy::print_stdout, reason = "the report is the output of this command")]
async fn experiment(options: &Options) -> anyhow::Result<()> {
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
    let bar = progress_bar(planned.len() * known.len());
    for next in planned {
        let workload = workload(&lengths, &demand, next.rho, options.seed, next.round)?;
        let name = &options.policy[next.policy].name;
        bar.set_message(format!("{name}, load {}, round {} of {}", next.rho, next.round + 1, options.rounds));
        let detailed = run::run(options, cost, &known, &workload, next, &|| bar.inc(1)).await;
        let detailed = detailed.with_context(|| format!("{name}, load {}, round {}", next.rho, next.round + 1))?;
        journal.add(&detailed)?;
        outcomes.push(detailed.outcome);
    }
    bar.finish_and_clear();

    let report = Report::new(options, cost, &lengths, left_out, &outcomes);
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", table::text(&report)),
    }
    let path = options.out.join("report.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    for path in plot::draw(&report, &options.out)? {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

async fn measure_first_pass(
    options: &Options,
    fitted: CostModel,
    setting: Setting,
    asked: Vec<GenerateRequest>,
) -> anyhow::Result<FirstPass> {
    let bar = progress_bar(asked.len());
    bar.set_message("first pass, to know lengths and speed");
    let served = first_pass(options, asked.clone(), &|| bar.inc(1)).await?;
    bar.finish_and_clear();
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

fn progress_bar(requests: usize) -> ProgressBar {
    // A template that does not parse would only cost the looks.
    let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} requests, {eta} left: {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(requests as u64).with_style(style)
}
