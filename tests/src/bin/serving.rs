//! The serving experiment: policies compared on the real worker with the real predictor.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use clap::Parser;
use eoscast_sched::sim::{Demand, TraceRequest};
use eoscast_tests::serving::options::Options;
use eoscast_tests::serving::plan::{plan, workload};
use eoscast_tests::serving::report::Report;
use eoscast_tests::serving::requests::{known, requests};
use eoscast_tests::serving::run::{Outcome, first_pass, run};
use eoscast_tests::serving::{plot, table};
use eoscast_worker::collection::prompts::{draw, read_prompts};
use eoscast_worker::simulation::cost_file::read_cost;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // One thread: the cores are the worker's.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(experiment(&options))
}

async fn experiment(options: &Options) -> anyhow::Result<()> {
    options.check()?;
    let cost = read_cost(&options.cost).context("--cost")?;
    let prompts = read_prompts(&options.prompts).context("--prompts")?;
    let prompts = draw(prompts, options.requests as usize, options.seed);
    if let Some(folder) = &options.out {
        std::fs::create_dir_all(folder).with_context(|| format!("--out: {} cannot be made", folder.display()))?;
    }

    let asked = requests(&prompts, options);
    let bar = progress_bar(asked.len());
    bar.set_message("first pass, to know the lengths");
    let served = first_pass(options, asked.clone(), &|| bar.inc(1)).await?;
    bar.finish_and_clear();
    let (known, left_out) = known(asked, &served, options);
    if !left_out.is_empty() {
        eprintln!("left out, as prompt and reply may not fit: {}", left_out.join(", "));
    }
    ensure!(
        known.len() > 1,
        "--kv-tokens: fewer than 2 of {} requests fit, there is nothing to compare",
        prompts.len()
    );

    let lengths: Vec<TraceRequest> = known.iter().map(|known| known.lengths).collect();
    let demand = Demand::of(&lengths, options.config(), &cost);
    let planned = plan(&options.rho, options.rounds, options.policy.len());
    let bar = progress_bar(planned.len() * known.len());
    let mut outcomes: Vec<Outcome> = Vec::new();
    for next in planned {
        let workload = workload(&lengths, &demand, next.rho, options.seed, next.round)?;
        let name = &options.policy[next.policy].name;
        bar.set_message(format!("{name}, load {}, round {} of {}", next.rho, next.round + 1, options.rounds));
        let outcome = run(options, cost, &known, &workload, next, &|| bar.inc(1)).await;
        outcomes.push(outcome.with_context(|| format!("{name}, load {}, round {}", next.rho, next.round + 1))?);
    }
    bar.finish_and_clear();

    let report = Report::new(options, cost, &lengths, left_out, &outcomes);
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", table::text(&report)),
    }
    if let Some(folder) = &options.out {
        let path = folder.join("report.json");
        std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        write_requests(options, &outcomes, &folder.join("requests.jsonl"))?;
        for path in plot::draw(&report, folder)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// What became of each request in each run.
fn write_requests(options: &Options, outcomes: &[Outcome], path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for Outcome { planned, served, .. } in outcomes {
        for (id, served) in served {
            let line = json!({
                "policy": options.policy[planned.policy].name, "rho": planned.rho, "round": planned.round,
                "request_id": id, "arrival": served.arrival, "sent": served.sent, "first_token": served.first_token,
                "end": served.end, "prompt_tokens": served.prompt_tokens, "output_tokens": served.output_tokens,
                "preemptions": served.preemptions,
            });
            writeln!(file, "{line}")?;
        }
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

fn progress_bar(requests: usize) -> ProgressBar {
    // A template that does not parse would only cost the looks.
    let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} requests, {eta} left: {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(requests as u64).with_style(style)
}
