//! `bench`: how fast the engine decodes and prefills, and where the time of a step goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use eoscast_proto::domain::{Complete, ReplyEvent, RequestId, SamplingParams};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::engine_args::EngineArgs;
use super::fit_cost;
use super::local_engine::LocalEngine;
use super::model_args::progress_bar;
use super::predictor_cost::{self, PredictorCost};
use super::step_time::{PARTS, StepTime};
use crate::engine::{EngineHandle, PreparedRequest, Reply};
use eoscast_kernels::{Limits, Pool};

/// Options of `bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Numbers of streams at once, one run each.
    #[arg(long, env = "EOSCAST_CONCURRENCY", value_delimiter = ',', default_value = "1,8,16,32")]
    pub(super) concurrency: Vec<usize>,
    /// Tokens of each prompt; random ones, so that nothing can be reused.
    #[arg(long, env = "EOSCAST_PROMPT_TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of each reply; none ends early.
    #[arg(long, env = "EOSCAST_OUTPUT_TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) output_tokens: u32,
    /// Times each run is repeated; the median is reported.
    #[arg(long, env = "EOSCAST_REPEATS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeats: u32,
    /// URL of a predictor that gets the step events, or none.
    #[arg(long, env = "EOSCAST_PREDICTOR", default_value = "none", value_name = "URL|none")]
    pub(super) predictor: String,
    /// Measure each run without the predictor too, in turn with it, and report what it costs. Loads the model twice.
    #[arg(long, env = "EOSCAST_COMPARE_PREDICTOR")]
    pub(super) compare_predictor: bool,
    /// Time single steps at these concurrencies, with prompts of many lengths, instead; fit what a step costs to them, and write
    /// the prices to this JSON file, which `simulate --cost` takes.
    #[arg(long, env = "EOSCAST_FIT_COST", value_name = "FILE", conflicts_with = "compare_predictor")]
    fit_cost: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<Run>,
    /// What the processor can do at most, measured before the runs.
    memory_bytes_per_s: f64,
    byte_operations_per_s: f64,
    /// Resident memory of the process at the end.
    rss_bytes: u64,
}

/// One concurrency; rates are medians over the repeats.
#[derive(Debug, Clone, Serialize)]
struct Run {
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
    let local = LocalEngine::start("bench", &args.engine, &args.predictor).await?;
    let spec = local.engine.model().clone();
    let longest = args.prompt_tokens + args.output_tokens;
    ensure!(
        longest as usize <= spec.context_length.min(spec.num_blocks * spec.block_size),
        "--prompt-tokens and --output-tokens: {longest} exceed the context of {} or the KV budget",
        spec.context_length
    );
    ensure!(local.has_predictor || args.predictor == "none", "--predictor: nothing answers at {}", args.predictor);
    let limits = Limits::measure(Pool::global());
    let bar = progress_bar("measuring");
    bar.set_length(args.concurrency.len() as u64 * (1 + u64::from(args.repeats)));
    let mut runs = Vec::new();
    for &concurrency in &args.concurrency {
        ensure!(concurrency >= 1, "--concurrency: must be at least 1");
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
            bar.inc(1);
        }
        let rates: Vec<f64> = repeats.iter().map(|run| run.decode_tokens_per_s).collect();
        runs.push(Run { cost: PredictorCost::of_pairs(&rates, &repeats_without), ..median(repeats) });
    }
    bar.finish_and_clear();
    local.stop().await?;
    if let Some(without) = without {
        without.stop().await?;
    }
    let Limits { memory_bytes_per_s, byte_operations_per_s } = limits;
    let report = Report { runs, memory_bytes_per_s, byte_operations_per_s, rss_bytes: rss_bytes().unwrap_or(0) };
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
) -> anyhow::Result<Run> {
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
    Ok(Run {
        concurrency,
        decode_tokens_per_s: rate,
        decode_range: [rate, rate],
        prefill_tokens_per_s: (concurrency * args.prompt_tokens as usize) as f64 / (last_first - begin).as_secs_f64(),
        breakdown: time.shares(),
        share_of_limit: time.share_of_limit(limits),
        cost: None,
    })
}

/// A request of so many random tokens, and a reply of so many.
pub(super) fn request(
    [prompt_tokens, output_tokens]: [u32; 2],
    seed: u64,
    vocab_size: u64,
) -> anyhow::Result<PreparedRequest> {
    // A multiplicative congruential step spreads consecutive seeds over the vocabulary.
    let token = |i: u64| ((seed * 1_000_003 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) % vocab_size;
    Ok(PreparedRequest {
        request_id: RequestId::try_from(format!("bench-{seed}-{prompt_tokens}"))?,
        // Below the vocabulary's size, which is a u32's.
        prompt: (0..u64::from(prompt_tokens)).map(|i| token(i) as u32).collect(),
        prompt_text: None,
        sampling: SamplingParams { ignore_eos: true, ..Default::default() },
        max_tokens: output_tokens,
        seed,
        priority: 0,
        task: None,
        deadline: None,
        include_eos_logprob: false,
        include_estimate: false,
    })
}

/// When each token of a reply arrived.
pub(super) async fn arrivals(mut reply: Reply) -> anyhow::Result<Vec<Instant>> {
    let mut times = Vec::new();
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Chunk(_) => times.push(Instant::now()),
            ReplyEvent::Complete(Complete { completion_tokens, .. }) => {
                ensure!(times.len() == completion_tokens as usize, "a reply lost tokens");
            }
        }
    }
    Ok(times)
}

/// The repeat with the median decode rate, and the range of all.
fn median(mut repeats: Vec<Run>) -> Run {
    repeats.sort_by(|a, b| a.decode_tokens_per_s.total_cmp(&b.decode_tokens_per_s));
    let range = [repeats[0].decode_tokens_per_s, repeats[repeats.len() - 1].decode_tokens_per_s];
    Run { decode_range: range, ..repeats.swap_remove(repeats.len() / 2) }
}

fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn table(report: &Report) -> String {
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
