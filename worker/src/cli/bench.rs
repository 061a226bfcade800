//! `bench`: how fast the engine decodes and prefills, and where the time of a step goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use anyhow::ensure;
use eoscast_cli::progress::Progress;
use serde::Serialize;
use tokio::task::JoinSet;

use super::bench_args::BenchArgs;
use super::bench_load::{arrivals, request};
use super::fit_cost;
use super::local_engine::LocalEngine;
use super::predictor_cost::{self, PredictorCost};
use super::step_time::{PARTS, StepTime};
use crate::engine::EngineHandle;
use eoscast_kernels::{Limits, Pool};

#[derive(Debug, Serialize)]
struct BenchReport {
    runs: Vec<BenchRun>,
    /// What the processor can do at most, measured before the runs.
    memory_bytes_per_s: f64,
    byte_operations_per_s: f64,
    /// Resident memory of the process at the end.
    rss_bytes: u64,
}

/// One concurrency; rates are medians over the repeats.
#[derive(Debug, Clone, Serialize)]
struct BenchRun {
    concurrency: usize,
    decode_tokens_per_s: f64,
    /// Slowest and fastest repeat.
    decode_range: [f64; 2],
    prefill_tokens_per_s: f64,
    /// Shares of the engine thread's time, prefill and decoding together.
    breakdown: BTreeMap<&'static str, f64>,
    /// Share of it that would be needed at the physical limit.
    share_of_limit: f64,
    #[serde(flatten)]
    cost: Option<PredictorCost>,
}

/// Runs the benchmark.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        match &args.fit_cost {
            Some(file) => fit_cost::run(args, file).await,
            None => bench(args).await,
        }
    })
}

async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let without = predictor_cost::engine_without(args).await?;
    let local = LocalEngine::start("bench", &args.engine, args.predictor.url()).await?;
    let spec = local.engine.model().clone();
    let longest = args.prompt_tokens + args.output_tokens;
    ensure!(
        longest as usize <= spec.context_length.min(spec.num_blocks * spec.block_size),
        "--prompt-tokens and --output-tokens: {longest} exceed the context of {} or the KV budget",
        spec.context_length
    );
    if let Some(url) = args.predictor.url() {
        ensure!(local.has_predictor, "--predictor: nothing answers at {url}; start one with eoscast-predictor serve");
    }
    let limits = Limits::measure(Pool::global());
    let bar = Progress::items("measuring", args.concurrency.len() * (1 + args.repeats as usize));
    let mut runs = Vec::new();
    for &concurrency in &args.concurrency {
        let (mut repeats, mut repeats_without) = (Vec::new(), Vec::new());
        // The first pass warms caches and page tables.
        for repeat in 0..=args.repeats {
            let seed = u64::from(repeat) << 32;
            // Each second pair the other way round, so that neither side is always the one after.
            let mut pair = vec![Some(&local), without.as_ref()];
            pair.rotate_left(usize::from(repeat % 2 == 0));
            for side in pair.into_iter().flatten() {
                let measured = measure(&side.engine, args, concurrency, seed, limits).await?;
                match (repeat, std::ptr::eq(side, &local)) {
                    (0, _) => {}
                    (_, true) => repeats.push(measured),
                    (_, false) => repeats_without.push(measured.decode_tokens_per_s),
                }
            }
            bar.add(1);
        }
        let rates: Vec<f64> = repeats.iter().map(|run| run.decode_tokens_per_s).collect();
        runs.push(BenchRun { cost: PredictorCost::of_pairs(&rates, &repeats_without), ..median(repeats) });
    }
    bar.finish();
    local.stop().await?;
    if let Some(without) = without {
        without.stop().await?;
    }
    let Limits { memory_bytes_per_s, byte_operations_per_s } = limits;
    let report = BenchReport { runs, memory_bytes_per_s, byte_operations_per_s, rss_bytes: rss_bytes().unwrap_or(0) };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", table(&report))?;
    }
    Ok(())
}

async fn measure(
    engine: &EngineHandle,
    args: &BenchArgs,
    concurrency: usize,
    seed: u64,
    limits: Limits,
) -> anyhow::Result<BenchRun> {
    let (metrics, vocab_size) = (engine.metrics(), engine.model().vocab_size as u64);
    let before = StepTime::so_far(metrics);
    let begin = Instant::now();
    let mut replies = JoinSet::new();
    for i in 0..concurrency {
        let reply = engine.submit(request([args.prompt_tokens, args.output_tokens], seed + i as u64, vocab_size)?)?;
        replies.spawn(arrivals(reply));
    }
    let mut arrived = Vec::new();
    while let Some(times) = replies.join_next().await {
        arrived.push(times??);
    }
    // Decoding is measured while every stream decodes.
    let last_first = arrived.iter().map(|times| times[0]).max().unwrap_or(begin);
    let first_last = arrived.iter().map(|times| times[times.len() - 1]).min().unwrap_or(begin);
    let decoded = arrived.iter().flatten().filter(|at| **at > last_first && **at <= first_last).count();
    let time = StepTime::so_far(metrics).since(before);
    let rate = decoded as f64 / (first_last - last_first).as_secs_f64();
    Ok(BenchRun {
        concurrency,
        decode_tokens_per_s: rate,
        decode_range: [rate, rate],
        prefill_tokens_per_s: (concurrency * args.prompt_tokens as usize) as f64 / (last_first - begin).as_secs_f64(),
        breakdown: time.shares(),
        share_of_limit: time.share_of_limit(limits),
        cost: None,
    })
}

/// The repeat with the median decode rate, and the range of all.
fn median(mut repeats: Vec<BenchRun>) -> BenchRun {
    repeats.sort_by(|a, b| a.decode_tokens_per_s.total_cmp(&b.decode_tokens_per_s));
    let range = [repeats[0].decode_tokens_per_s, repeats[repeats.len() - 1].decode_tokens_per_s];
    BenchRun { decode_range: range, ..repeats.swap_remove(repeats.len() / 2) }
}

fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn table(report: &BenchReport) -> String {
    let mut text = format!("{:>7} {:>14} {:>17} {:>15}", "streams", "decode tok/s", "(range)", "prefill tok/s");
    for part in PARTS {
        text += &format!(" {part:>10}");
    }
    text += "   of limit\n";
    for run in &report.runs {
        let [low, high] = run.decode_range;
        let range = format!("({low:.0}-{high:.0})");
        text += &format!(
            "{:>7} {:>14.0} {range:>17} {:>15.0}",
            run.concurrency, run.decode_tokens_per_s, run.prefill_tokens_per_s
        );
        for part in PARTS {
            text += &format!(" {:>9.1}%", run.breakdown[part] * 100.0);
        }
        text += &format!(" {:>9.1}%\n", run.share_of_limit * 100.0);
        if let Some(cost) = &run.cost {
            text += &format!("{:>7} {cost}\n", "");
        }
    }
    text + &format!(
        "limits: memory {:.1} GB/s, bytes {:.0} GOP/s; resident memory {:.0} MB\n",
        report.memory_bytes_per_s / 1e9,
        report.byte_operations_per_s / 1e9,
        report.rss_bytes as f64 / 1e6
    )
}
